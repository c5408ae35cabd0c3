//! The one gate for every path of an archive.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Resolution stays below the root, symbolic links included, and never goes through `/proc`'s magic links.
/// `RESOLVE_IN_ROOT` came with Linux 5.6.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// The kernel answers EAGAIN when something is renamed while `..` of a link is resolved.
const ATTEMPTS: usize = 64;

/// A directory that paths are resolved in.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
}

impl Root {
    /// Opens the directory itself. Its path comes from our own records and is trusted.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self { folder })
    }

    /// The directory itself.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// Opens a folder below the root; the root itself for an empty path. Links on the way are followed, inside.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_inside(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    fn open_inside(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat2(&self.folder, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// The type of the file `name` in `folder`, not following it; `None` where there is none.
pub(crate) fn file_type(folder: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Folders within folders that a tree may have, where it is walked by recursion: no real one is near it, and what links
/// in an archive or a container's own hands can make must not overflow the stack.
pub(crate) const MAX_DEPTH: usize = 256;

/// What a tree deeper than [`MAX_DEPTH`] is answered with.
pub(crate) fn too_deep() -> io::Error {
    io::Error::other(format!("folders nested deeper than {MAX_DEPTH} levels"))
}

/// Removes the file or the tree `name` in `folder`, following nothing.
pub(crate) fn remove(folder: BorrowedFd<'_>, name: &std::ffi::OsStr) -> io::Result<()> {
    remove_at(folder, name, 0)
}

fn remove_at(folder: BorrowedFd<'_>, name: &std::ffi::OsStr, depth: usize) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if depth == MAX_DEPTH {
        return Err(too_deep());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    for child in children(inner.as_fd())? {
        remove_at(inner.as_fd(), &child, depth + 1)?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// The names in a folder.
pub(crate) fn children(folder: BorrowedFd<'_>) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_dots_lead_nowhere_but_inside() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("root");
        std::fs::create_dir_all(inside.join("etc")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("/etc", inside.join("absolute")).unwrap();
        symlink("../../../etc", inside.join("upward")).unwrap();
        symlink("../outside", inside.join("beside")).unwrap();
        let root = Root::open(&inside).unwrap();
        for path in ["", "etc", "absolute", "upward", "../../etc", "/etc"] {
            assert!(root.folder(Path::new(path)).is_ok(), "{path}");
        }
        assert!(root.folder(Path::new("beside")).is_err());
        assert!(root.folder(Path::new("/proc/self/root")).is_err());
    }

    #[test]
    fn a_tree_of_any_depth_ends_in_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Root::open(dir.path()).unwrap().folder(Path::new("")).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for _ in 0..300 {
            rustix::fs::mkdirat(&folder, "a", Mode::RWXU).unwrap();
            folder = rustix::fs::openat(&folder, "a", flags, Mode::empty()).unwrap();
        }
        let top = Root::open(dir.path()).unwrap().folder(Path::new("")).unwrap();
        assert!(
            remove(top.as_fd(), "a".as_ref())
                .unwrap_err()
                .to_string()
                .contains("256 levels")
        );
        let refused = crate::diff(dir.path(), io::sink()).unwrap_err();
        assert!(refused.to_string().contains("256 levels"), "{refused}");
    }

    #[test]
    fn a_tree_is_removed_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        std::fs::create_dir_all(dir.path().join("root/tree/deep")).unwrap();
        std::fs::write(&kept, "x").unwrap();
        symlink(&kept, dir.path().join("root/tree/deep/link")).unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        let folder = root.folder(Path::new("")).unwrap();
        remove(folder.as_fd(), "tree".as_ref()).unwrap();
        assert!(!dir.path().join("root/tree").exists());
        assert!(kept.exists());
    }
}
