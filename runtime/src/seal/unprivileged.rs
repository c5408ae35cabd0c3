//! A sealed binary for somebody who may not copy mounts.
//!
//! In a user namespace of their own everybody may. A helper makes the copy there and hands it over; it shows the file
//! alone, read-only, in no namespace any more once the helper is gone, and needs no id to be mapped. Where user
//! namespaces are refused, the binary is copied into sealed memory, which costs milliseconds.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use davit_sys::clone::{Fork, NEW_MOUNT, NEW_USER, exit_now, fork};
use rustix::{
    fs::{AtFlags, MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create, stat, statat},
    io::Errno as Kernel,
    process::{WaitId, WaitIdOptions, waitid},
};

use super::{SELF, read_only_copy};
use crate::{
    errno::{Attempt, CallError},
    talk::Channel,
};

/// The binary to go on as, or `None` when that has happened already.
pub(super) fn sealed() -> Result<Option<OwnedFd>, CallError> {
    let own = File::open(SELF).attempt("open", SELF)?;
    // Only what lives in memory has seals at all.
    if fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        return Ok(None);
    }
    match through_user_namespace() {
        Some(copy) => Ok(Some(copy)),
        None => in_memory(own).attempt("copy to memory", SELF).map(Some),
    }
}

fn through_user_namespace() -> Option<OwnedFd> {
    // By its path, since /proc/self/exe leads into the mount namespace that is left here.
    let path = fs::read_link(SELF).ok()?;
    let (channel, helper_channel) = Channel::pair().ok()?;
    match fork(NEW_USER | NEW_MOUNT, None).ok()? {
        Fork::Child => {
            let copy = copy_of_own(&path).map_err(Kernel::raw_os_error);
            let _ = helper_channel.send_source(copy);
            exit_now(0)
        }
        Fork::Parent { pidfd, .. } => {
            drop(helper_channel);
            let copy = channel.receive_source();
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            copy.ok()
        }
    }
}

fn copy_of_own(path: &Path) -> Result<OwnedFd, Kernel> {
    let copy = read_only_copy(path).map_err(|_| Kernel::PERM)?;
    // Somebody may have put another file there meanwhile.
    let (found, own) = (statat(&copy, "", AtFlags::EMPTY_PATH)?, stat(SELF)?);
    match (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) {
        true => Ok(copy),
        false => Err(Kernel::STALE),
    }
}

fn in_memory(mut own: File) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Executable must be said since Linux 6.3, where the administrator can have it forbidden, and not before.
    let memory = match memfd_create("davit-runtime", flags | MemfdFlags::EXEC) {
        Err(Kernel::INVAL) => memfd_create("davit-runtime", flags),
        made => made,
    }?;
    let mut memory = File::from(memory);
    io::copy(&mut own, &mut memory)?;
    fcntl_add_seals(
        &memory,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    // Nothing that somebody may write through is executed (ETXTBSY).
    Ok(File::open(format!("/proc/self/fd/{}", memory.as_raw_fd()))?.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_copied_to_memory_cannot_be_written() {
        let copy = in_memory(File::open(SELF).unwrap()).unwrap();
        let mut copy = File::from(copy);
        assert_eq!(copy.metadata().unwrap().len(), fs::metadata(SELF).unwrap().len());
        assert!(copy.write_all(b"x").is_err() && copy.set_len(0).is_err());
    }
}
