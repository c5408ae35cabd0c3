//! Going through a tree of cgroups, of whatever depth.
//!
//! A container that may write to its cgroups can nest them deeper than a path or a table of open files is long, and
//! must not hide a process or leave a directory behind that way. So directories are opened one from the other, one at
//! a time, and the way back is `..`.

use std::{ffi::CString, io, path::Path, thread::sleep, time::Duration};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, unlinkat},
    io::Errno,
};

use crate::{CgroupError, Result};

/// Calls `each` for `root` and every cgroup below, parents first. Nothing happens when `root` is gone.
pub(crate) fn visit(
    root: &Path,
    mut each: impl FnMut(BorrowedFd<'_>) -> std::result::Result<(), Errno>,
) -> std::result::Result<(), Errno> {
    walk(root, &mut each, &mut |_, _| Ok(()))
}

/// Removes `root` and what is below it, leaves first.
///
/// A cgroup stays busy for a moment after its last process was reaped, so EBUSY is tried again, longer each time.
pub(crate) fn remove(root: &Path) -> Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match try_to_remove(root) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) if pause < Duration::from_millis(300) => {
                sleep(pause);
                pause *= 2;
            }
            Err(err) => {
                return Err(CgroupError::Remove {
                    path: root.into(),
                    source: io::Error::from(err),
                });
            }
        }
    }
}

fn try_to_remove(root: &Path) -> std::result::Result<(), Errno> {
    // The usual case is one empty directory, and costs one call.
    match unlinkat(CWD, root, AtFlags::REMOVEDIR) {
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        result => return result,
    }
    walk(
        root,
        &mut |_| Ok(()),
        &mut |parent, name| match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // One that is busy does not keep its siblings; removing the root will fail, and be tried again.
            Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
            result => result,
        },
    )?;
    unlinkat(CWD, root, AtFlags::REMOVEDIR)
}

/// `enter` is called for each cgroup, `leave` for each but the root with its parent and name when all below is done.
fn walk(
    root: &Path,
    enter: &mut dyn FnMut(BorrowedFd<'_>) -> std::result::Result<(), Errno>,
    leave: &mut dyn FnMut(BorrowedFd<'_>, &CString) -> std::result::Result<(), Errno>,
) -> std::result::Result<(), Errno> {
    let mut current = match openat(CWD, root, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        result => result?,
    };
    enter(current.as_fd())?;
    // Per level, the children still to be entered; and the names on the way down.
    let mut pending = vec![children(&current)?];
    let mut way: Vec<CString> = Vec::new();
    while let Some(level) = pending.last_mut() {
        if let Some(name) = level.pop() {
            match openat(&current, &name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT) => continue,
                child => current = child?,
            }
            enter(current.as_fd())?;
            pending.push(children(&current)?);
            way.push(name);
            continue;
        }
        pending.pop();
        if let Some(name) = way.pop() {
            current = openat(&current, "..", DIRECTORY, Mode::empty())?;
            leave(current.as_fd(), &name)?;
        }
    }
    Ok(())
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn children(dir: &OwnedFd) -> std::result::Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    let entries = match Dir::read_from(dir) {
        Err(Errno::NOENT) => return Ok(names),
        entries => entries?,
    };
    for entry in entries {
        let entry = match entry {
            // Removed under our hands.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Makes `depth` directories inside each other, by the way of the walk itself: no path is that long.
    fn nest(root: &Path, depth: usize) {
        let mut current = openat(CWD, root, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&current, "a-name-that-adds-up-to-more-than-a-path", Mode::RWXU).unwrap();
            current = openat(
                &current,
                "a-name-that-adds-up-to-more-than-a-path",
                DIRECTORY,
                Mode::empty(),
            )
            .unwrap();
        }
    }

    fn count(root: &Path) -> usize {
        let mut count = 0;
        visit(root, |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    }

    #[test]
    fn a_tree_deeper_than_paths_and_open_files_is_seen_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("x/y")).unwrap();
        fs::create_dir_all(root.join("x/z")).unwrap();
        nest(&root, 2000);
        assert_eq!(count(&root), 2004);
        remove(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn what_is_gone_is_no_error() {
        assert_eq!(count(Path::new("/no/such/cgroup")), 0);
        remove(Path::new("/no/such/cgroup")).unwrap();
    }

    #[test]
    fn what_stays_busy_is_an_error_and_its_siblings_go() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("busy")).unwrap();
        fs::create_dir_all(root.join("free")).unwrap();
        fs::write(root.join("busy/file"), "").unwrap();
        assert!(remove(&root).unwrap_err().is(Errno::NOTEMPTY));
        assert!(root.join("busy").exists() && !root.join("free").exists());
    }
}
