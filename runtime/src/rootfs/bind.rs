//! Binds: showing what is there already, with other attributes.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use davit_sys::mount_attr::{map_ids, mount_setattr};
use rustix::{
    fs::{StatVfsMountFlags, fstatvfs},
    io::Errno as Kernel,
    mount::MountFlags,
};

use super::{
    gate::{Gate, Kind, is_directory},
    mount::{MountError, Step, finish, guard_proc},
    options::{ATIME_FLAGS, MountOptions, Tree, change_to},
    planned::Planned,
    source::Sources,
};
use crate::errno::Errno;

/// What a user namespace may not take from a mount that was made outside of it.
const LOCKABLE: MountFlags = ATIME_FLAGS
    .union(MountFlags::RDONLY)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOSUID);

pub(super) fn bind(gate: &Gate, planned: &Planned, sources: &Sources) -> Result<(), MountError> {
    let (mount, options) = (&planned.mount, &planned.options);
    if options.remount {
        let place = gate.place(&mount.destination).step("open destination")?;
        set_attributes(place.as_fd(), options)?;
        return super::mount::refine(place.as_fd(), options);
    }
    let tree = sources.open(planned)?;
    let kind = match is_directory(tree.as_fd()).step("inspect source")? {
        true => Kind::Directory,
        false => Kind::File,
    };
    let place = gate.ensure(&mount.destination, kind).step("make destination")?;
    match (kind, is_directory(place.as_fd()).step("inspect destination")?) {
        (Kind::Directory, false) => {
            return Err(MountError::Mismatch(
                "the source is a directory and the destination is a file",
            ));
        }
        (Kind::File, true) => {
            return Err(MountError::Mismatch(
                "the source is a file and the destination is a directory",
            ));
        }
        _ => {}
    }
    guard_proc(gate, &tree, place.as_fd(), &mount.destination)?;
    set_attributes(tree.as_fd(), options)?;
    finish(&tree, place.as_fd(), options)
}

/// Maps the ids of a detached tree.
pub(super) fn map(tree: &OwnedFd, planned: &Planned) -> Result<(), MountError> {
    let Some(ids) = &planned.ids else {
        return Ok(());
    };
    let whole = ids.tree == Tree::Whole;
    map_ids(tree.as_fd(), whole, ids.user_namespace.as_fd()).map_err(|err| MountError::IdMap(err.into()))
}

/// Gives a mount the flags that were asked for and takes the others from it: `bind,ro` of a mount that is `nosuid` is not
/// `nosuid`. Without any word on flags it keeps its own. That is mount(8)'s `--bind -o`, were it applied always.
pub(super) fn set_attributes(mount: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    if options.set.is_empty() && options.cleared.is_empty() {
        return Ok(());
    }
    match mount_setattr(mount, false, &change_to(options.set)) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => keep_locked(mount, options, err.into()),
        done => done.step("set attributes"),
    }
}

/// In a user namespace the flags of the host's mounts are locked. Those that nobody asked to go stay, then; but what was
/// asked for and cannot be is an error, never another mount than that.
fn keep_locked(mount: BorrowedFd, options: &MountOptions, refusal: Errno) -> Result<(), MountError> {
    let own = flags_of(mount).step("inspect flags")?;
    let kept = own & options.cleared & LOCKABLE;
    if !kept.is_empty() {
        return Err(MountError::Locked(
            format!("cannot clear locked flags {kept:?}"),
            refusal,
        ));
    }
    let (wanted, atime) = (options.set & ATIME_FLAGS, own & ATIME_FLAGS);
    if !wanted.is_empty() && wanted != atime {
        return Err(MountError::Locked(
            format!("cannot change locked atime flags {atime:?}"),
            refusal,
        ));
    }
    mount_setattr(mount, false, &change_to(options.set | (own & LOCKABLE))).step("set attributes")
}

fn flags_of(mount: BorrowedFd) -> Result<MountFlags, Kernel> {
    let stat = fstatvfs(mount)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let mut flags = MountFlags::empty();
    for (_, flag) in pairs.iter().filter(|(bit, _)| stat.contains(*bit)) {
        flags |= *flag;
    }
    // The kernel has no word for it: it is the absence of the others.
    if !flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME) {
        flags |= MountFlags::STRICTATIME;
    }
    Ok(flags)
}
