//! New mounts of file systems by mount(2), for what fsconfig(2) cannot say.
//!
//! mount(2) wants a path to mount on. It gets one that nobody else sees: a directory in a tmpfs that covers the
//! container's root for the moment and is addressed by the working directory alone. The mount is then copied from there,
//! detached like any other, and the tmpfs is gone with its file descriptor.

use std::{
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat},
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::fchdir,
};

use super::{
    filesystem::filesystem as private_tmpfs,
    gate::Gate,
    mount::{MountError, Step, attach, copy},
    options::{self, I_VERSION, MountOptions, Tree},
};

/// What mount(2) reads at most, the final NUL included.
const PAGE: usize = 4096;

/// The flags that mount(2) takes for a new file system.
const NEW: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::SYNCHRONOUS)
    .union(MountFlags::DIRSYNC)
    .union(MountFlags::PERMIT_MANDATORY_FILE_LOCKING)
    .union(MountFlags::NOSYMFOLLOW)
    .union(MountFlags::NOATIME)
    .union(MountFlags::NODIRATIME)
    .union(MountFlags::RELATIME)
    .union(MountFlags::STRICTATIME)
    .union(MountFlags::LAZYTIME)
    .union(MountFlags::SILENT)
    .union(I_VERSION);

/// A new, detached mount of a file system.
pub(super) fn filesystem(gate: &Gate, kind: &str, source: &str, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let data = options::as_text(&options.data);
    // The kernel would cut it off without a word, and mount something else than was asked for (CVE-2021-43784's kind).
    if data.len() >= PAGE || source.len() >= PAGE {
        return Err(MountError::TooLong(kind.into(), PAGE - 1));
    }
    let data = CString::new(data).map_err(|_| MountError::TooLong(kind.into(), 0))?;
    let before = openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("open .")?;
    let nobodys = MountOptions {
        data: vec!["mode=700".into()],
        ..MountOptions::default()
    };
    let workshop = private_tmpfs(gate, "tmpfs", "tmpfs", &nobodys)?;
    mkdirat(&workshop, "place", Mode::RWXU).step("make place to mount on")?;
    // Only what is attached somewhere in the namespace can be mounted on. The root propagates nothing.
    attach(workshop.as_fd(), gate.root()).step("attach place to mount on")?;
    let mounted = mount_inside(&workshop, kind, source, options.set & NEW, &data);
    let gone = fchdir(&workshop).and_then(|()| unmount(".", UnmountFlags::DETACH));
    fchdir(&before).step("return to .")?;
    gone.step("unmount place to mount on")?;
    mounted
}

fn mount_inside(
    workshop: &OwnedFd,
    kind: &str,
    source: &str,
    flags: MountFlags,
    data: &CString,
) -> Result<OwnedFd, MountError> {
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let below = openat(workshop, "place", place, Mode::empty()).step("open place to mount on")?;
    fchdir(&below).step("enter place to mount on")?;
    mount(source, ".", kind, flags, data.as_c_str()).map_err(|errno| MountError::Filesystem {
        step: "mount".into(),
        filesystem: kind.into(),
        errno: errno.into(),
        explanation: String::new(),
    })?;
    // By its name it is the mount, no longer the directory that it covers.
    let mounted = openat(workshop, "place", place, Mode::empty()).step("open mount")?;
    copy(mounted.as_fd(), Tree::Single).step("copy mount")
}
