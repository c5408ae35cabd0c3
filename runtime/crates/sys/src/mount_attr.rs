//! mount_setattr(2) (Linux 5.12): flags and propagation of a mount, by fd.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// What to change; all zero changes nothing. The bits are the kernel's `MOUNT_ATTR_*`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear first.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 to leave the propagation.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`, see [`map_ids`].
    userns_fd: u64,
}

/// Read-only.
pub const RDONLY: u64 = 0x1;
/// Set-user-id bits are without effect.
pub const NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const NODEV: u64 = 0x4;
/// Files cannot be executed.
pub const NOEXEC: u64 = 0x8;
/// The mask of the access time modes; clear it before setting another mode than relatime (which is 0).
pub const ATIME: u64 = 0x70;
/// Access times are never updated.
pub const NOATIME: u64 = 0x10;
/// Access times are always updated.
pub const STRICTATIME: u64 = 0x20;
/// Access times of directories are not updated.
pub const NODIRATIME: u64 = 0x80;
/// Symbolic links are not followed (Linux 5.14).
pub const NOSYMFOLLOW: u64 = 0x20_0000;
/// Ids are mapped.
const IDMAP: u64 = 0x10_0000;

/// No event passes, in or out (`MS_PRIVATE`).
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// Events come in, none goes out (`MS_SLAVE`).
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Events pass both ways (`MS_SHARED`).
pub const SHARED: u64 = libc::MS_SHARED;
/// Private and not to be bound elsewhere (`MS_UNBINDABLE`).
pub const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

impl MountAttr {
    /// Sets attributes.
    pub fn set(set: u64) -> Self {
        MountAttr {
            set,
            ..MountAttr::default()
        }
    }

    /// Changes the propagation.
    pub fn propagation(propagation: u64) -> Self {
        MountAttr {
            propagation,
            ..MountAttr::default()
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == MountAttr::default()
    }
}

/// Changes the mount that `mount` is the root of, and with `recursive` all below it.
pub fn mount_setattr(mount: BorrowedFd, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and attr is the kernel's layout with its own size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Shows the owners of files as the id maps of `user_namespace` say (Linux 5.12, and a file system that can do it). The
/// mount must not have been attached yet.
pub fn map_ids(mount: BorrowedFd, recursive: bool, user_namespace: BorrowedFd) -> io::Result<()> {
    let attr = MountAttr {
        set: IDMAP,
        userns_fd: user_namespace.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    mount_setattr(mount, recursive, &attr)
}
