//! The root of a container without a mount namespace: a mount in the runtime's own, below which the container's lie.
//!
//! Nothing goes by itself there. The root is put on itself, private, so that all that the container mounts is below one
//! mount; that one is known by its id and removed with the container.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use davit_sys::mount_attr::{MountAttr, PRIVATE, mount_setattr};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx},
    io::Errno as Kernel,
    mount::{UnmountFlags, unmount},
};

use super::{
    mount::{attach, copy_of_host},
    options::Tree,
};
use crate::errno::{Attempt, CallError};

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): ids that are never given again.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// A copy of the root's mount that is not attached yet: nothing of it is left if the runtime dies.
#[derive(Debug)]
pub struct RootMount<'a> {
    rootfs: &'a Path,
    tree: OwnedFd,
    /// By which it is found again when it is attached.
    pub id: u64,
}

/// Copies the mount of `rootfs`.
pub fn prepare(rootfs: &Path) -> Result<RootMount<'_>, CallError> {
    let tree = copy_of_host(rootfs, Tree::Whole).attempt("open rootfs", rootfs.display())?;
    mount_setattr(tree.as_fd(), true, &MountAttr::propagation(PRIVATE)).attempt("make private", rootfs.display())?;
    let id = id_of(&tree).attempt("inspect", rootfs.display())?;
    Ok(RootMount { rootfs, tree, id })
}

impl RootMount<'_> {
    /// Puts the root on itself.
    pub fn attach(self) -> Result<(), CallError> {
        let place = open(self.rootfs).attempt("open rootfs", self.rootfs.display())?;
        attach(self.tree.as_fd(), place.as_fd()).attempt("attach rootfs", self.rootfs.display())
    }
}

/// Takes that mount away with all below, if it is still there. Another one at the same place is somebody else's.
pub fn remove(rootfs: &Path, id: u64) -> Result<(), CallError> {
    let mount = match open(rootfs) {
        Err(Kernel::NOENT | Kernel::NOTDIR) => return Ok(()),
        opened => opened.attempt("open rootfs", rootfs.display())?,
    };
    match id_of(&mount).attempt("inspect", rootfs.display())? == id {
        // By the descriptor: the path may mean something else by now.
        true => unmount(format!("/proc/self/fd/{}", mount.as_raw_fd()), UnmountFlags::DETACH)
            .attempt("unmount", rootfs.display()),
        false => Ok(()),
    }
}

fn open(rootfs: &Path) -> Result<OwnedFd, Kernel> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, rootfs, flags, Mode::empty())
}

fn id_of(mount: &OwnedFd) -> Result<u64, Kernel> {
    let id = |mask: StatxFlags| -> Result<Option<u64>, Kernel> {
        let stat = statx(mount, "", AtFlags::EMPTY_PATH, mask)?;
        Ok((stat.stx_mask & mask.bits() != 0).then_some(stat.stx_mnt_id))
    };
    match id(StatxFlags::from_bits_retain(MNT_ID_UNIQUE))? {
        Some(unique) => Ok(unique),
        None => Ok(id(StatxFlags::MNT_ID)?.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_mount_is_taken_away() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("needs root: mounts a directory on itself");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let lies_on = |path: &Path| id_of(&open(path).unwrap()).unwrap();
        let below = lies_on(dir.path());
        let mount = prepare(dir.path()).unwrap();
        let id = mount.id;
        assert_eq!(lies_on(dir.path()), below);
        mount.attach().unwrap();
        assert_eq!(lies_on(dir.path()), id);
        remove(dir.path(), id + 1).unwrap();
        assert_eq!(lies_on(dir.path()), id);
        remove(dir.path(), id).unwrap();
        assert_eq!(lies_on(dir.path()), below);
        remove(dir.path(), id).unwrap();
        remove(&dir.path().join("absent"), id).unwrap();
    }
}
