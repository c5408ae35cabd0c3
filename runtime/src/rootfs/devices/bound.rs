//! Device nodes in a user namespace, where nobody may make any: the host's are bound.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_spec::{Device, DeviceKind};
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev, openat, statat},
    io::Errno as Kernel,
};

use super::DeviceError;
use crate::{
    errno::Attempt,
    rootfs::{
        mount::{attach, copy},
        options::Tree,
    },
};

/// Binds the host's node of `device` on `name` in `parent`.
pub(super) fn bind(parent: BorrowedFd, name: &str, device: &Device) -> Result<(), DeviceError> {
    let node = node_of_host(device).ok_or_else(|| DeviceError::NotOnHost {
        path: device.path.clone(),
        major: device.major,
        minor: device.minor,
    })?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(_) | Err(Kernel::EXIST) => {}
        Err(errno) => Err(errno).attempt("make place of device", &device.path)?,
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(parent, name, flags, Mode::empty()).attempt("open place of device", &device.path)?;
    // The image's own node, or the same one by an earlier entry.
    if is_node(&place, device) {
        return Ok(());
    }
    let stat = statat(&place, "", AtFlags::EMPTY_PATH).attempt("inspect", &device.path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(DeviceError::Different(device.path.clone()));
    }
    let tree = copy(node.as_fd(), Tree::Single).attempt("copy mount of device", &device.path)?;
    Ok(attach(tree.as_fd(), place.as_fd()).attempt("bind device", &device.path)?)
}

/// The host's node at the same path, if it is that device, or the one that udev keeps by its number.
fn node_of_host(device: &Device) -> Option<OwnedFd> {
    let kind = match device.kind {
        DeviceKind::Block => "block",
        DeviceKind::Character | DeviceKind::Fifo => "char",
    };
    let by_number = format!("/dev/{kind}/{}:{}", device.major, device.minor);
    [device.path.as_str(), &by_number]
        .into_iter()
        .filter_map(|path| openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok())
        .find(|node| is_node(node, device))
}

fn is_node(place: &OwnedFd, device: &Device) -> bool {
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    statat(place, "", AtFlags::EMPTY_PATH).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == makedev(device.major, device.minor)
    })
}
