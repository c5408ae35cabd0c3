//! Removing a tree that a container has made, however deep it is.
//!
//! A container can nest folders by the hundred thousand. Going down by recursion with a descriptor per level, as
//! `std::fs::remove_dir_all` does, ends in an overflow of the stack, which ends the whole process. Here whatever lies
//! too deep is moved to the top and removed from there.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

/// How many levels are gone down by recursion.
const DEPTH: usize = 32;

/// Removes the folder `path` and all below it; no link is followed. `path` itself holds only names of our own.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    let mut removal = Removal {
        top: open(CWD, path)?,
        moved: 0,
    };
    let top = removal.top.try_clone()?;
    loop {
        let before = removal.moved;
        removal.empty(top.as_fd(), 0)?;
        if removal.moved == before {
            return Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?);
        }
    }
}

struct Removal {
    top: OwnedFd,
    /// Folders that were moved to the top.
    moved: u64,
}

impl Removal {
    fn empty(&mut self, folder: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for name in names(folder)? {
            match unlinkat(folder, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
            if depth == DEPTH {
                self.lift(folder, &name)?;
            } else {
                self.empty(open(folder, &name)?.as_fd(), depth + 1)?;
                unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
            }
        }
        Ok(())
    }

    fn lift(&mut self, folder: BorrowedFd<'_>, name: &OsString) -> io::Result<()> {
        loop {
            self.moved += 1;
            match renameat(folder, name, &self.top, format!("deep-{}", self.moved)) {
                // Left by a removal that was interrupted.
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                other => return Ok(other?),
            }
        }
    }
}

fn open(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mkdirat;

    use super::*;

    #[test]
    fn a_very_deep_tree_is_removed_without_recursion_or_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        std::fs::create_dir_all(tree.join("fs")).unwrap();
        std::fs::create_dir_all(tree.join("deep-1/left")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        symlink(&kept, tree.join("fs/link")).unwrap();
        let mut folder = open(CWD, tree.join("fs")).unwrap();
        for _ in 0..5000 {
            mkdirat(&folder, "a", Mode::RWXU).unwrap();
            folder = open(folder.as_fd(), "a").unwrap();
        }
        let removed = std::thread::Builder::new().stack_size(256 << 10);
        let path = tree.clone();
        removed
            .spawn(move || remove_tree(&path))
            .unwrap()
            .join()
            .unwrap()
            .unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
    }
}
