//! Keeping the container's hands off the runtime's binary (CVE-2019-5736).
//!
//! A process that enters a container is, until its execve, visible there as /proc/PID/exe, and a container whose
//! program is `/proc/self/exe` even executes it. Who holds that file can open it for writing when nobody runs it any
//! more. So everything that enters a container runs from a read-only mount.
//!
//! Where the binary lies on one, nothing is done. Else the runtime executes itself once more through a private copy of
//! the mount, detached and read-only: no bytes are copied (a memfd costs milliseconds), nothing becomes visible in any
//! namespace. The copy's last descriptor closes with that execve, and a mount that is in no namespace can never be
//! made writable again, not even with CAP_SYS_ADMIN. An ordinary user gets the same by other means ([`unprivileged`]).

mod unprivileged;

use std::{
    convert::Infallible,
    env,
    ffi::CString,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use davit_sys::mount_attr::{MountAttr, RDONLY, mount_setattr};
use rustix::{
    fs::{CWD, StatVfsMountFlags, statvfs},
    io::Errno as Kernel,
    mount::{OpenTreeFlags, open_tree},
    process::{DumpableBehavior, set_dumpable_behavior},
};

use crate::errno::{Attempt, CallError};

const SELF: &str = "/proc/self/exe";

/// Returns when the process runs from a read-only mount, having executed itself anew if need be.
pub fn ensure() -> Result<(), CallError> {
    if statvfs(SELF)
        .attempt("inspect", SELF)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(());
    }
    let sealed = match read_only_copy(Path::new(SELF)) {
        // The kernel lets nobody but root copy a mount.
        Err(err) if err.errno.is(Kernel::PERM) => match unprivileged::sealed()? {
            Some(sealed) => sealed,
            None => return Ok(()),
        },
        copied => copied?,
    };
    match execute(sealed)? {}
}

/// Makes the process undumpable until its execve: nobody without CAP_SYS_PTRACE on the host can trace it or follow its
/// links in /proc, not even somebody who shares its user and pid namespace (CVE-2016-9962).
pub fn hide() -> Result<(), CallError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).attempt("make undumpable", SELF)
}

/// A detached mount that shows nothing but the file, and that read-only.
fn read_only_copy(file: &Path) -> Result<OwnedFd, CallError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = open_tree(CWD, file, flags).attempt("copy the mount of", file.display())?;
    mount_setattr(copy.as_fd(), false, &MountAttr::set(RDONLY)).attempt("seal", file.display())?;
    Ok(copy)
}

fn execute(sealed: OwnedFd) -> Result<Infallible, CallError> {
    let args: Vec<CString> = env::args_os().map(|arg| c_string(arg.into_vec())).collect();
    let env: Vec<CString> = env::vars_os()
        .map(|(name, value)| c_string([name.into_vec(), value.into_vec()].join(&b'=')))
        .collect();
    let Err(errno) = nix::unistd::execveat(&sealed, c"", &args, &env, nix::fcntl::AtFlags::AT_EMPTY_PATH);
    Err(errno).attempt("execute", SELF)
}

fn c_string(bytes: Vec<u8>) -> CString {
    CString::new(bytes).expect("arguments and environment come as C strings")
}
