//! A root that cannot be pivoted to, since the host's is an initramfs: it is moved over the host's.
//!
//! The host's mounts stay below it, out of sight but in the namespace. The kernel lets somebody in a user namespace
//! mount proc or sysfs anew if one without anything mounted over it is there already; so all such mounts of the host
//! are taken away first.

use std::{
    fs,
    os::{
        fd::AsFd,
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    mount::{MountPropagationFlags, UnmountFlags, fsconfig_create, mount_change, mount_move, unmount},
    process::chroot,
};

use super::mount::attach;
use crate::errno::{Attempt, CallError};

/// Moves the root; the calling process is in it already.
pub(super) fn move_to_root(rootfs: &Path) -> Result<(), CallError> {
    let table = fs::read("/proc/self/mountinfo").attempt("read", "/proc/self/mountinfo")?;
    for place in whole_kernel_file_systems(&table, rootfs) {
        take_away(&place)?;
    }
    mount_move(rootfs, "/").attempt("move rootfs to", "/")?;
    chroot(".").attempt("chroot", ".")
}

/// Where the root of a proc or sysfs is mounted outside of `rootfs`.
fn whole_kernel_file_systems(table: &[u8], rootfs: &Path) -> Vec<PathBuf> {
    let place = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (root, place) = (fields.nth(3)?, fields.next()?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        let place = PathBuf::from(std::ffi::OsString::from_vec(unescaped(place)));
        let wanted = root == b"/" && matches!(kind, b"proc" | b"sysfs") && !place.starts_with(rootfs);
        wanted.then_some(place)
    };
    table.split(|byte| *byte == b'\n').filter_map(place).collect()
}

/// Blanks and the like are octal numbers there.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let number = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(number.unwrap_or(*first));
        rest = if number.is_some() { &tail[3..] } else { tail };
    }
    plain
}

fn take_away(place: &Path) -> Result<(), CallError> {
    // The host must not hear of it.
    match mount_change(place, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC) {
        // Gone together with one above.
        Err(Kernel::NOENT) => return Ok(()),
        changed => changed.attempt("make slave", place.display())?,
    }
    match unmount(place, UnmountFlags::DETACH) {
        // Locked, in a user namespace.
        Err(Kernel::INVAL | Kernel::PERM) => cover(place).attempt("cover", place.display()),
        unmounted => unmounted.attempt("unmount", place.display()),
    }
}

fn cover(place: &Path) -> Result<(), Kernel> {
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsmount, fsopen};
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let cover = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )?;
    let place = openat(
        CWD,
        place.as_os_str().as_bytes(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    attach(cover.as_fd(), place.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_proc_and_sysfs_outside_of_the_root_is_found() {
        let table = b"22 27 0:21 / /proc rw - proc proc rw\n\
            23 27 0:22 / /sys rw,relatime shared:1 master:2 - sysfs sysfs rw\n\
            44 27 0:41 / /srv/a\\040b/proc rw - proc proc rw\n\
            45 27 0:41 /sys /srv/part rw - proc proc rw\n\
            46 27 0:42 / /r/proc rw - proc proc rw\n\
            47 27 0:43 / /tmp rw - tmpfs tmpfs rw\n";
        let found = whole_kernel_file_systems(table, Path::new("/r"));
        assert_eq!(
            found,
            [Path::new("/proc"), Path::new("/sys"), Path::new("/srv/a b/proc")]
        );
    }
}
