//! The directory that a layer is written to.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, Uid, XattrFlags},
    io::Errno,
};

use crate::{ArchiveError, Root, name::EntryName, root};

use super::{
    Target,
    attributes::{Attributes, Time},
    invalid, write,
};

pub(super) struct Tree {
    root: Root,
    lower: Vec<Root>,
    is_overlay: bool,
    /// The folder of the last entry: most entries follow one of the same folder.
    last_folder: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Times of folders, set at the end: every file made in a folder changes its time.
    folder_times: Vec<(PathBuf, Time)>,
    /// What this layer has brought: whiteouts do not touch it.
    brought: HashSet<PathBuf>,
}

impl Tree {
    pub(super) fn open(target: &Target) -> Result<Self, ArchiveError> {
        let open = |path: &PathBuf| Root::open(path).map_err(write("open", path));
        Ok(Self {
            root: open(&target.upper)?,
            lower: target.lower.iter().map(open).collect::<Result<_, _>>()?,
            is_overlay: target.is_overlay,
            last_folder: None,
            folder_times: Vec::new(),
            brought: HashSet::new(),
        })
    }

    /// The open folder at `path`; missing ones are made, with the attributes that they have in lower layers.
    pub(super) fn folder(&mut self, path: &Path) -> Result<Rc<OwnedFd>, ArchiveError> {
        if let Some((known, folder)) = &self.last_folder
            && known == path
        {
            return Ok(folder.clone());
        }
        let folder = match self.root.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make_folders(path)?,
            other => other.map_err(write("open folder", path))?,
        };
        let folder = Rc::new(folder);
        self.last_folder = Some((path.to_owned(), folder.clone()));
        Ok(folder)
    }

    /// A folder that an entry may be resolved in without making it: for the targets of hard links.
    pub(super) fn existing_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.root.folder(path)
    }

    /// Notes an entry as brought by this layer.
    pub(super) fn note(&mut self, name: &EntryName) {
        if !self.is_overlay {
            self.brought.insert(name.path());
        }
    }

    /// Notes the time that a folder is to have in the end.
    pub(super) fn note_folder_time(&mut self, path: PathBuf, time: Time) {
        self.folder_times.push((path, time));
    }

    /// Removes what is in the place of a new entry.
    pub(super) fn clear(&mut self, folder: &OwnedFd, name: &EntryName) -> Result<(), ArchiveError> {
        self.last_folder = None;
        root::remove(folder.as_fd(), &name.file).map_err(write("replace", name.path()))
    }

    /// Makes what lower layers have under this name disappear.
    pub(super) fn hide(&mut self, name: &EntryName, attributes: &Attributes) -> Result<(), ArchiveError> {
        let folder = self.folder(&name.folder)?;
        if !self.is_overlay {
            if !self.brought.contains(&name.path()) {
                self.clear(&folder, name)?;
            }
            return Ok(());
        }
        let action = "mark as removed";
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        match rustix::fs::mknodat(folder.as_fd(), &name.file, kind, mode, rustix::fs::makedev(0, 0)) {
            // The layer itself brings a file of this name, which hides the lower one already.
            Err(Errno::EXIST) => return Ok(()),
            other => other.map_err(write(action, name.path()))?,
        }
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        rustix::fs::chownat(
            folder.as_fd(),
            &name.file,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(write(action, name.path()))
    }

    /// Makes all that lower layers have in this folder disappear.
    pub(super) fn make_opaque(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let folder = self.folder(path)?;
        if self.is_overlay {
            let key = "trusted.overlay.opaque";
            return rustix::fs::fsetxattr(folder.as_fd(), key, b"y", XattrFlags::empty())
                .map_err(write("mark as opaque", path));
        }
        for child in root::children(folder.as_fd()).map_err(write("list", path))? {
            self.clear_unbrought(folder.as_fd(), &path.join(child))?;
        }
        self.last_folder = None;
        Ok(())
    }

    /// Removes a tree but for what this layer has brought.
    fn clear_unbrought(&self, folder: BorrowedFd<'_>, path: &Path) -> Result<(), ArchiveError> {
        let Some(file) = path.file_name() else { return Ok(()) };
        if self.brought.contains(path) || self.brought.iter().any(|brought| brought.starts_with(path)) {
            return Ok(());
        }
        root::remove(folder, file).map_err(write("remove", path))
    }

    /// Sets the times of folders.
    pub(super) fn finish(&mut self) -> Result<(), ArchiveError> {
        for (path, time) in std::mem::take(&mut self.folder_times) {
            // An entry may be gone again, or be a link now: then its time does not matter any more.
            let Ok(folder) = self.root.folder(&path) else { continue };
            rustix::fs::futimens(&folder, &time.timestamps()).map_err(write("set the time of", &path))?;
        }
        Ok(())
    }

    fn make_folders(&mut self, path: &Path) -> Result<OwnedFd, ArchiveError> {
        let mut made = PathBuf::new();
        for part in path {
            let parent = self.root.folder(&made).map_err(write("open folder", &made))?;
            made.push(part);
            match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
                Ok(()) => self.inherit(&parent, part, &made)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(write("make folder", &made)(error)),
            }
        }
        self.root.folder(path).map_err(write("open folder", path))
    }

    /// Gives a folder that the layer takes for granted the attributes it has in the nearest layer below.
    fn inherit(&mut self, parent: &OwnedFd, part: &OsStr, path: &Path) -> Result<(), ArchiveError> {
        let Some(below) = self.lower.iter().find_map(|lower| lower.folder(path).ok()) else {
            return Ok(());
        };
        let stat = rustix::fs::fstat(&below).map_err(write("stat", path))?;
        let attributes = Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            modified: Time {
                seconds: stat.st_mtime,
                nanoseconds: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            },
            xattrs: xattrs(&below).map_err(write("read attributes of", path))?,
        };
        attributes
            .set(parent.as_fd(), part, false)
            .map_err(write("set attributes of", path))?;
        self.note_folder_time(path.to_owned(), attributes.modified);
        Ok(())
    }
}

/// The extended attributes of a folder but those of overlayfs.
fn xattrs(folder: &OwnedFd) -> io::Result<Vec<(std::ffi::CString, Vec<u8>)>> {
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let mut names = vec![0u8; 64 * 1024];
    let length = match rustix::fs::listxattr(path.as_str(), &mut names) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::getxattr(path.as_str(), OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.extend(std::ffi::CString::new(name).ok().map(|name| (name, value)));
    }
    Ok(found)
}

/// Refuses a name that cannot be made a file, before anything is changed for it.
pub(super) fn check_length(name: &EntryName) -> Result<(), ArchiveError> {
    match name.file.len() > 255 {
        true => Err(invalid(name, "name longer than 255 bytes")),
        false => Ok(()),
    }
}
