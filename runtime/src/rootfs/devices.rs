//! Device nodes and the links of /dev.

mod bound;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_spec::{Config, Device, DeviceKind};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, Uid, chownat, makedev, mknodat, statat, symlinkat, unlinkat},
    io::Errno as Kernel,
};

use crate::{
    errno::{Attempt, CallError},
    rootfs::gate::{Gate, Kind},
};

/// What every container has: name and minor number of a character device, major 1 but for the terminal.
const STANDARD: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// Why /dev could not be furnished.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The image has something else where a device must be.
    #[error("{0} exists and is not the device that it has to be")]
    Different(String),
    /// No node of it to bind where none can be made.
    #[error("no node of device {major}:{minor} on the host at {path} or by its number, and none can be made here")]
    NotOnHost {
        /// Where it would be.
        path: String,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
}

/// Whether /dev is the container's own: where it is a bind, it belongs to somebody else and is left as it is.
pub fn are_wanted(config: &Config) -> bool {
    !config.mounts.iter().any(|mount| {
        let is_bind = mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind");
        is_bind && mount.destination.trim_end_matches('/') == "/dev"
    })
}

/// Where the device nodes of a container are.
pub fn paths(config: &Config) -> impl Iterator<Item = String> {
    let standard = STANDARD.iter().map(|(name, ..)| format!("/dev/{name}"));
    standard.chain(config.linux.devices.iter().map(|device| device.path.clone()))
}

/// Makes the standard devices, those of the config, and the links. The file creation mask must be 0.
pub fn create(gate: &Gate, devices: &[Device]) -> Result<(), DeviceError> {
    let dev = gate.ensure("/dev", Kind::Directory).attempt("open", "/dev")?;
    for (name, major, minor) in STANDARD {
        let configured = devices
            .iter()
            .any(|device| device.path.strip_prefix("/dev/") == Some(name));
        if !configured {
            let device = Device {
                path: format!("/dev/{name}"),
                kind: DeviceKind::Character,
                major,
                minor,
                file_mode: None,
                uid: 0,
                gid: 0,
            };
            node(dev.as_fd(), name, &device)?;
        }
    }
    // /dev/ptmx is a link into the container's own devpts, whatever the config says.
    for device in devices.iter().filter(|device| device.path != "/dev/ptmx") {
        let (parent, name) = gate
            .ensure_parent(&device.path)
            .attempt("open directory of", &device.path)?;
        node(parent.as_fd(), name, device)?;
    }
    links(&dev)
}

fn node(parent: BorrowedFd, name: &str, device: &Device) -> Result<(), DeviceError> {
    let (kind, number) = match device.kind {
        DeviceKind::Character => (FileType::CharacterDevice, makedev(device.major, device.minor)),
        DeviceKind::Block => (FileType::BlockDevice, makedev(device.major, device.minor)),
        DeviceKind::Fifo => (FileType::Fifo, 0),
    };
    let mode = Mode::from_raw_mode(device.file_mode.unwrap_or(0o666) & 0o7777);
    match mknodat(parent, name, kind, mode, number) {
        Ok(()) if device.uid == 0 && device.gid == 0 => Ok(()),
        Ok(()) => {
            let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(chownat(parent, name, Some(uid), Some(gid), flags).attempt("change owner of", &device.path)?)
        }
        Err(Kernel::EXIST) => {
            let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).attempt("inspect", &device.path)?;
            match FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == number {
                true => Ok(()),
                false => Err(DeviceError::Different(device.path.clone())),
            }
        }
        // In a user namespace, the container's or the runtime's own.
        Err(Kernel::PERM) => bound::bind(parent, name, device),
        Err(errno) => Err(errno)
            .attempt("make device", &device.path)
            .map_err(DeviceError::Call),
    }
}

fn links(dev: &OwnedFd) -> Result<(), DeviceError> {
    let core = [("/proc/kcore", "core")];
    let has_core = std::path::Path::new("/proc/kcore").exists();
    for (target, name) in LINKS.iter().chain(core.iter().filter(|_| has_core)) {
        link(dev, target, name)?;
    }
    match unlinkat(dev, "ptmx", AtFlags::empty()) {
        Ok(()) | Err(Kernel::NOENT) => link(dev, "pts/ptmx", "ptmx"),
        Err(errno) => Err(errno).attempt("remove", "/dev/ptmx").map_err(DeviceError::Call),
    }
}

fn link(dev: &OwnedFd, target: &str, name: &str) -> Result<(), DeviceError> {
    match symlinkat(target, dev, name) {
        Ok(()) | Err(Kernel::EXIST) => Ok(()),
        Err(errno) => Err(errno).attempt("link /dev entry", name).map_err(DeviceError::Call),
    }
}
