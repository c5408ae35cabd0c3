//! The one gate to paths inside the container's root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, statat},
    io::Errno,
};

/// How often a lookup is repeated that a concurrent rename or mount disturbed.
const RETRIES: usize = 64;
/// How many dangling links are followed while a path is being made.
const MAX_LINKS: usize = 40;

/// The root of a container's file system.
#[derive(Debug)]
pub struct Gate {
    root: OwnedFd,
}

/// What a mount needs to find at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

impl Gate {
    /// Takes the root directory.
    pub fn new(root: OwnedFd) -> Self {
        Gate { root }
    }

    /// The root directory itself.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Gives the root directory back.
    pub fn into_root(self) -> OwnedFd {
        self.root
    }

    /// Opens what is at `path`, following links inside the root.
    pub fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT)
    }

    /// Opens what is at `path` as a place (`O_PATH`).
    pub fn place(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH)
    }

    /// Opens a place on the way to which, and at which, there is no link: ELOOP otherwise.
    pub fn place_without_links(&self, path: &str) -> Result<OwnedFd, Errno> {
        self.resolve(path, OFlags::PATH, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    /// Opens the place at `path`, making it and the directories above where they are missing.
    pub fn ensure(&self, path: &str, kind: Kind) -> Result<OwnedFd, Errno> {
        self.ensure_within(path, kind, MAX_LINKS)
    }

    /// The directory that holds the last name of `path`, made where it is missing, and that name.
    pub fn ensure_parent<'p>(&self, path: &'p str) -> Result<(OwnedFd, &'p str), Errno> {
        let (parent, name) = split(path).ok_or(Errno::INVAL)?;
        Ok((self.ensure(parent, Kind::Directory)?, name))
    }

    fn resolve(&self, path: &str, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { "/" } else { path };
        for _ in 0..RETRIES {
            match openat2(
                &self.root,
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
                how | ResolveFlags::NO_MAGICLINKS,
            ) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn ensure_within(&self, path: &str, kind: Kind, links: usize) -> Result<OwnedFd, Errno> {
        match self.place(path) {
            Err(Errno::NOENT) => {}
            result => return result,
        }
        let (parent_path, name) = split(path).ok_or(Errno::NOENT)?;
        if name == ".." {
            return Err(Errno::NOENT);
        }
        let parent = self.ensure_within(parent_path, Kind::Directory, links)?;
        match make(&parent, name, kind) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        match self.place(path) {
            // Something is there and leads nowhere: a dangling link, whose end is then what has to be made.
            Err(Errno::NOENT) if links > 0 => self.ensure_link_end(&parent, parent_path, name, kind, links - 1),
            result => result,
        }
    }

    fn ensure_link_end(
        &self,
        parent: &OwnedFd,
        parent_path: &str,
        name: &str,
        kind: Kind,
        links: usize,
    ) -> Result<OwnedFd, Errno> {
        let link = readlinkat(parent, name, Vec::new())?;
        let end = link.to_str().map_err(|_| Errno::ILSEQ)?;
        match end.starts_with('/') {
            true => self.ensure_within(end, kind, links),
            false => self.ensure_within(&format!("{parent_path}/{end}"), kind, links),
        }
    }
}

/// Whether the open place is a directory.
pub fn is_directory(place: BorrowedFd) -> Result<bool, Errno> {
    let stat = statat(place, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn make(parent: &OwnedFd, name: &str, kind: Kind) -> Result<(), Errno> {
    match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_raw_mode(0o755)),
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

/// Parent and last name; `None` for the root.
fn split(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "" => None,
        "." => split(parent),
        name => Some((parent, name)),
    }
}

#[cfg(test)]
mod tests;
