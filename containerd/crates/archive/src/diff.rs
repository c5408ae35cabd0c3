//! Making a layer of what an overlay's upper directory adds to and hides from those below it.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tar::{Builder, EntryType, Header};

use crate::{ArchiveError, Root, root};

/// Extended attributes that a layer carries: what programs may do, and what users have written.
const XATTRS: [&str; 2] = ["security.capability", "user."];
const OPAQUE: &str = ".wh..wh..opq";

/// Writes the contents of `upper` as a plain tar to `sink`, with overlayfs' marks as whiteouts.
///
/// The directory may be in use: what changes meanwhile is written as it was found or not at all, and no link of it is
/// followed. Sockets are left out. Names are sorted, so that equal directories make equal archives.
pub fn diff(upper: &Path, sink: impl Write) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Write {
        action: "open",
        name: upper.display().to_string(),
        source,
    };
    let root = Root::open(upper).map_err(failed)?;
    let folder = root.folder(Path::new("")).map_err(failed)?;
    let mut walk = Walk {
        builder: Builder::new(sink),
        links: HashMap::new(),
        depth: 0,
    };
    walk.folder(&folder, Path::new(""))?;
    walk.builder.finish().map_err(written(Path::new("")))
}

struct Walk<W: Write> {
    builder: Builder<W>,
    /// The first name of files that have several.
    links: HashMap<(u64, u64), PathBuf>,
    /// Folders between the root and the one that is walked.
    depth: usize,
}

impl<W: Write> Walk<W> {
    fn folder(&mut self, folder: &OwnedFd, path: &Path) -> Result<(), ArchiveError> {
        if is_opaque(folder).map_err(unreadable(path))? && !path.as_os_str().is_empty() {
            self.mark(&path.join(OPAQUE))?;
        }
        let mut names = root::children(folder.as_fd()).map_err(unreadable(path))?;
        names.sort();
        for name in names {
            self.entry(folder.as_fd(), &name, &path.join(&name))?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.map_err(unreadable(path))?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            let mut hidden = std::ffi::OsString::from(".wh.");
            hidden.push(name);
            return self.mark(&path.with_file_name(hidden));
        }
        if kind == FileType::Socket {
            return Ok(());
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                return self.link(&stat, EntryType::Link, path, first.as_os_str());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        self.extended(folder, name, path)?;
        match kind {
            FileType::Directory => self.directory(folder, name, path, &stat),
            FileType::RegularFile => self.regular(folder, name, path, &stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, name, Vec::new()).map_err(unreadable(path))?;
                self.link(&stat, EntryType::Symlink, path, OsStr::from_bytes(target.as_bytes()))
            }
            FileType::CharacterDevice => self.special(&stat, EntryType::Char, path),
            FileType::BlockDevice => self.special(&stat, EntryType::Block, path),
            FileType::Fifo => self.special(&stat, EntryType::Fifo, path),
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    fn directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
    ) -> Result<(), ArchiveError> {
        if self.depth == root::MAX_DEPTH {
            return Err(unreadable(path)(root::too_deep()));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(unreadable(path))?;
        let mut header = header(stat, EntryType::Directory);
        let mut with_slash = path.as_os_str().to_owned();
        with_slash.push("/");
        self.builder
            .append_data(&mut header, Path::new(&with_slash), io::empty())
            .map_err(written(path))?;
        self.depth += 1;
        self.folder(&folder, path)?;
        self.depth -= 1;
        Ok(())
    }

    fn regular(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &Path, stat: &Stat) -> Result<(), ArchiveError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(unreadable(path))?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        let mut header = header(stat, EntryType::Regular);
        header.set_size(size);
        // The header promises a length: a file that shrinks meanwhile is filled up, one that grows is cut.
        let bytes = File::from(file).chain(io::repeat(0)).take(size);
        self.builder
            .append_data(&mut header, path, bytes)
            .map_err(written(path))
    }

    fn link(&mut self, stat: &Stat, kind: EntryType, path: &Path, target: &OsStr) -> Result<(), ArchiveError> {
        let mut header = header(stat, kind);
        self.builder
            .append_link(&mut header, path, target)
            .map_err(written(path))
    }

    fn special(&mut self, stat: &Stat, kind: EntryType, path: &Path) -> Result<(), ArchiveError> {
        let mut header = header(stat, kind);
        if kind != EntryType::Fifo {
            let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            let set = header
                .set_device_major(device.0)
                .and_then(|()| header.set_device_minor(device.1));
            set.map_err(written(path))?;
        }
        self.builder
            .append_data(&mut header, path, io::empty())
            .map_err(written(path))
    }

    /// A whiteout: an empty file of 1970 that nobody owns.
    fn mark(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        self.builder
            .append_data(&mut header, path, io::empty())
            .map_err(written(path))
    }

    /// Writes the extended attributes that belong to the next entry.
    fn extended(&mut self, folder: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), ArchiveError> {
        let found = xattrs(folder, name).map_err(unreadable(path))?;
        if found.is_empty() {
            return Ok(());
        }
        let records: Vec<(String, Vec<u8>)> = found
            .into_iter()
            .map(|(key, value)| (format!("SCHILY.xattr.{key}"), value))
            .collect();
        let borrowed = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.builder.append_pax_extensions(borrowed).map_err(written(path))
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

/// Whether overlayfs shows nothing of lower layers in this folder.
fn is_opaque(folder: &OwnedFd) -> io::Result<bool> {
    let mut value = [0u8; 4];
    match rustix::fs::fgetxattr(folder, "trusted.overlay.opaque", &mut value) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn xattrs(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<Vec<(String, Vec<u8>)>> {
    // Our own link to the open folder; the name behind it is not followed.
    let path = [
        b"/proc/self/fd/",
        folder.as_raw_fd().to_string().as_bytes(),
        b"/",
        name.as_bytes(),
    ]
    .concat();
    let mut names = vec![0u8; 64 * 1024];
    let length = match rustix::fs::llistxattr(path.as_slice(), &mut names) {
        Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Vec::new()),
        other => other?,
    };
    let keys = names[..length]
        .split(|byte| *byte == 0)
        .filter_map(|key| std::str::from_utf8(key).ok());
    let mut found = Vec::new();
    for key in keys.filter(|key| XATTRS.iter().any(|wanted| key.starts_with(wanted))) {
        let mut value = vec![0u8; 64 * 1024];
        let length = rustix::fs::lgetxattr(path.as_slice(), key, &mut value)?;
        value.truncate(length);
        found.push((key.to_owned(), value));
    }
    Ok(found)
}

fn unreadable<E: Into<io::Error>>(path: &Path) -> impl FnOnce(E) -> ArchiveError {
    let name = path.display().to_string();
    move |source| ArchiveError::Write {
        action: "read",
        name,
        source: source.into(),
    }
}

fn written(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
    let name = path.display().to_string();
    move |source| ArchiveError::Write {
        action: "write",
        name,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::{Target, apply};

    fn target(path: PathBuf) -> Target {
        std::fs::create_dir_all(&path).unwrap();
        Target {
            upper: path,
            lower: Vec::new(),
            is_overlay: true,
        }
    }

    fn layer_of(upper: &Path) -> Vec<u8> {
        let mut bytes = Vec::new();
        diff(upper, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_layer_applied_and_made_again_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = target(dir.path().join("first"));
        let root = &first.upper;
        std::fs::create_dir_all(root.join("etc/deep")).unwrap();
        std::fs::write(root.join("etc/deep/file"), vec![3; 10_000]).unwrap();
        std::fs::set_permissions(root.join("etc/deep/file"), std::fs::Permissions::from_mode(0o4711)).unwrap();
        std::fs::hard_link(root.join("etc/deep/file"), root.join("other")).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        std::fs::write(root.join("n".repeat(200)), "long").unwrap();
        let device = rustix::fs::makedev(0, 0);
        let whiteout = root.join("gone");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &whiteout,
            FileType::CharacterDevice,
            Mode::empty(),
            device,
        )
        .unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(root.join("etc"), "trusted.overlay.opaque", b"y", flags).unwrap();
        rustix::fs::setxattr(root.join("other"), "user.note", b"hi", flags).unwrap();
        let bytes = layer_of(root);

        let second = target(dir.path().join("second"));
        apply(bytes.as_slice(), &second).unwrap();
        assert_eq!(layer_of(&second.upper), bytes);
        assert!(second.upper.join("other").exists());
        let names: Vec<String> = {
            let mut archive = tar::Archive::new(bytes.as_slice());
            let entries = archive.entries().unwrap();
            entries
                .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                .collect()
        };
        assert_eq!(names[..4], ["etc/", "etc/.wh..wh..opq", "etc/deep/", "etc/deep/file"]);
        assert!(names.contains(&".wh.gone".to_owned()), "{names:?}");
    }
}
