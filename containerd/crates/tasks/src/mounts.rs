//! Unmounting a root file system.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use rustix::mount::{UnmountFlags, unmount};

/// Unmounts everything on `path` and below it, the last mounted first.
///
/// Detached, because a process that lingers there must not keep the bundle from being removed.
pub(crate) fn unmount_below(path: &Path) -> io::Result<()> {
    let table = fs::read("/proc/self/mountinfo")?;
    for point in mount_points(&table).filter(|point| point.starts_with(path)).rev() {
        match unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Gone between the reading and now, with the mount above it.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn mount_points(table: &[u8]) -> impl DoubleEndedIterator<Item = PathBuf> {
    let points: Vec<_> = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .collect();
    points.into_iter()
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits (proc_pid_mountinfo(5)).
fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match (byte, octal(after)) {
            (b'\\', Some(value)) => {
                path.push(value);
                rest = &after[3..];
            }
            _ => {
                path.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

fn octal(digits: &[u8]) -> Option<u8> {
    let digits = std::ffi::OsStr::from_bytes(digits.get(..3)?).to_str()?;
    u8::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"1 0 0:1 / / rw - tmpfs none rw\n2 1 0:2 / /a\\040b/c\\134 rw - tmpfs none rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/"), PathBuf::from("/a b/c\\")]);
    }
}
