//! From the host's mounts to the container's.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use davit_sys::mount_attr::{MountAttr, PRIVATE, RDONLY, SLAVE, mount_setattr};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount},
    process::{chdir, chroot, fchdir, pivot_root},
};

use crate::{
    errno::{Attempt, CallError},
    rootfs::{
        gate::Gate,
        mount::{attach, copy_of_host},
        no_pivot,
        options::{Tree, propagation as root_propagation},
    },
};

/// Cuts the namespace's mounts off from the host's as far as `propagation` (`linux.rootfsPropagation`) says, and puts
/// the root directory on itself, so that it is a mount of its own.
pub fn prepare(rootfs: &Path, propagation: &str) -> Result<Gate, CallError> {
    let (flag, _) = root_propagation(propagation).unwrap_or((SLAVE, Tree::Whole));
    let root = openat(
        CWD,
        "/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt("open", "/")?;
    // Unbindable mounts could not be copied below: that propagation is only given to the finished root.
    let flag = if flag == davit_sys::mount_attr::UNBINDABLE {
        PRIVATE
    } else {
        flag
    };
    mount_setattr(root.as_fd(), true, &MountAttr::propagation(flag)).attempt("set propagation of", "/")?;
    let tree = copy_of_host(rootfs, Tree::Whole).attempt("open rootfs", rootfs.display())?;
    let place = openat(
        CWD,
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt("open rootfs", rootfs.display())?;
    let is_shared = flag == davit_sys::mount_attr::SHARED;
    if is_shared {
        // pivot_root refuses a shared parent.
        make_parent_private(rootfs)?;
    }
    // What the container mounts on its root must not reach the host, nor what the host mounts there the container.
    mount_setattr(tree.as_fd(), is_shared, &MountAttr::propagation(PRIVATE)).attempt("set propagation of", "rootfs")?;
    attach(tree.as_fd(), place.as_fd()).attempt("attach rootfs", rootfs.display())?;
    Ok(Gate::new(tree))
}

/// The root of a container without a mount namespace, which is a mount already.
pub fn open(rootfs: &Path) -> Result<Gate, CallError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, rootfs, flags, Mode::empty()).attempt("open rootfs", rootfs.display())?;
    Ok(Gate::new(root))
}

/// Makes a directory the process's root, and leaves the mounts as they are.
pub fn change_root(root: &OwnedFd) -> Result<(), CallError> {
    fchdir(root).attempt("enter", "rootfs")?;
    chroot(".").attempt("chroot", ".")
}

/// Makes the mount that `rootfs` lies on private.
fn make_parent_private(rootfs: &Path) -> Result<(), CallError> {
    let mut path = rootfs;
    loop {
        match mount_change(path, MountPropagationFlags::PRIVATE) {
            Ok(()) => return Ok(()),
            // Not the root of a mount: look above.
            Err(rustix::io::Errno::INVAL) if path.parent().is_some() => path = path.parent().unwrap_or(path),
            Err(errno) => return Err(errno).attempt("make private", path.display()),
        }
    }
}

/// Makes the root the process's root and drops the host's mounts from the namespace.
pub fn enter(root: OwnedFd, rootfs: &Path, no_pivot: bool) -> Result<(), CallError> {
    fchdir(&root).attempt("enter", "rootfs")?;
    match no_pivot {
        true => no_pivot::move_to_root(rootfs)?,
        false => {
            let old = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).attempt("open", "old root")?;
            pivot_root(".", ".").attempt("pivot_root", ".")?;
            // The host's root now lies on top of ours: "." is ours, and what is unmounted there is the host's. Where the
            // host shares its mounts it must not see them go.
            mount_setattr(old.as_fd(), true, &MountAttr::propagation(SLAVE)).attempt("make slave", "old root")?;
            drop(old);
            unmount(".", UnmountFlags::DETACH).attempt("unmount", "old root")?;
        }
    }
    chdir("/").attempt("enter", "/")
}

/// What is left to say about the root mount when everything in it is done.
pub fn finish(propagation: &str, readonly: bool) -> Result<(), CallError> {
    if propagation.is_empty() && !readonly {
        return Ok(());
    }
    let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).attempt("open", "/")?;
    if let Some((flag, tree)) = root_propagation(propagation) {
        let attr = MountAttr::propagation(flag);
        mount_setattr(root.as_fd(), tree == Tree::Whole, &attr).attempt("set propagation of", "/")?;
    }
    match readonly {
        true => mount_setattr(root.as_fd(), false, &MountAttr::set(RDONLY)).attempt("make read-only", "/"),
        false => Ok(()),
    }
}
