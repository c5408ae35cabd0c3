//! Making the file that an entry describes.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use tar::{Entry, EntryType};

use crate::{ArchiveError, name::EntryName, root};

use super::{
    attributes::Attributes,
    check_bytes, invalid,
    tree::{Tree, check_length},
    write,
};

const BUFFER: usize = 128 * 1024;

/// Makes the entry, in the place of whatever has its name, and gives it its attributes.
pub(super) fn entry<R: Read>(
    entry: &mut Entry<'_, R>,
    name: &EntryName,
    attributes: &Attributes,
    tree: &mut Tree,
) -> Result<(), ArchiveError> {
    check_length(name)?;
    let folder = tree.folder(&name.folder)?;
    let present = root::file_type(folder.as_fd(), &name.file).map_err(write("stat", name.path()))?;
    let kind = kind_of(entry);
    if present.is_some() && !(present == Some(FileType::Directory) && kind == EntryType::Directory) {
        tree.clear(&folder, name)?;
    }
    tree.note(name);
    let path = name.path();
    match kind {
        EntryType::Directory => return directory(&folder, name, attributes, tree),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            return regular(entry, &folder, name, attributes);
        }
        EntryType::Link => return link(entry, &folder, name, tree),
        EntryType::Symlink => symlink(entry, folder.as_fd(), name)?,
        EntryType::Char => device(entry, folder.as_fd(), name, FileType::CharacterDevice)?,
        EntryType::Block => device(entry, folder.as_fd(), name, FileType::BlockDevice)?,
        EntryType::Fifo => rustix::fs::mknodat(&folder, &name.file, FileType::Fifo, Mode::empty(), 0)
            .map_err(write("make fifo", &path))?,
        other => {
            return Err(invalid(
                name,
                format!("entry type {:#x} is not supported", other.as_byte()),
            ));
        }
    }
    attributes
        .set(folder.as_fd(), &name.file, kind == EntryType::Symlink)
        .map_err(write("set attributes of", &path))?;
    rustix::fs::utimensat(&folder, &name.file, &attributes.times(), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(write("set the time of", &path))
}

/// The entry's type. Archives from before POSIX mark a folder by a slash at the end of its name.
fn kind_of<R: Read>(entry: &Entry<'_, R>) -> EntryType {
    match entry.header().entry_type() {
        EntryType::Regular if entry.path_bytes().ends_with(b"/") => EntryType::Directory,
        kind => kind,
    }
}

fn directory(folder: &OwnedFd, name: &EntryName, attributes: &Attributes, tree: &mut Tree) -> Result<(), ArchiveError> {
    match rustix::fs::mkdirat(folder, &name.file, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(write("make folder", name.path())(error)),
    }
    attributes
        .set(folder.as_fd(), &name.file, false)
        .map_err(write("set attributes of", name.path()))?;
    tree.note_folder_time(name.path(), attributes.modified);
    Ok(())
}

fn regular<R: Read>(
    entry: &mut Entry<'_, R>,
    folder: &OwnedFd,
    name: &EntryName,
    attributes: &Attributes,
) -> Result<(), ArchiveError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &name.file, flags, Mode::from_raw_mode(0o600))
        .map_err(write("make", name.path()))?;
    let mut file = File::from(file);
    copy(entry, &mut file, name)?;
    let set = || -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        attributes.set_xattrs(folder.as_fd(), &name.file)?;
        Ok(rustix::fs::futimens(&file, &attributes.times())?)
    };
    set().map_err(write("set attributes of", name.path()))
}

/// Copies an entry's bytes; blocks of zeros become holes where the archive says that the file has some.
fn copy<R: Read>(entry: &mut Entry<'_, R>, file: &mut File, name: &EntryName) -> Result<(), ArchiveError> {
    let is_sparse = entry.header().entry_type() == EntryType::GNUSparse;
    let mut buffer = vec![0; BUFFER.min(usize::try_from(entry.size()).unwrap_or(BUFFER)).max(1)];
    let mut length = 0;
    loop {
        let count = entry.read(&mut buffer).map_err(ArchiveError::Read)?;
        if count == 0 {
            break;
        }
        length += count as u64;
        let bytes = &buffer[..count];
        if is_sparse && bytes.iter().all(|byte| *byte == 0) {
            io::Seek::seek(file, io::SeekFrom::Start(length)).map_err(write("write", name.path()))?;
        } else {
            file.write_all(bytes).map_err(write("write", name.path()))?;
        }
    }
    if is_sparse {
        file.set_len(length).map_err(write("write", name.path()))?;
    }
    Ok(())
}

fn link<R: Read>(entry: &Entry<'_, R>, folder: &OwnedFd, name: &EntryName, tree: &Tree) -> Result<(), ArchiveError> {
    let raw = entry.link_name_bytes().unwrap_or_default();
    let target = EntryName::parse(&raw).ok_or_else(|| invalid(name, "hard link to the root"))?;
    check_bytes(&target.path())?;
    let action = "make hard link";
    let from = tree
        .existing_folder(&target.folder)
        .map_err(write(action, name.path()))?;
    rustix::fs::linkat(&from, &target.file, folder, &name.file, AtFlags::empty()).map_err(write(action, name.path()))
}

fn symlink<R: Read>(entry: &Entry<'_, R>, folder: BorrowedFd<'_>, name: &EntryName) -> Result<(), ArchiveError> {
    let target = entry.link_name_bytes().unwrap_or_default();
    if target.is_empty() || target.contains(&0) {
        return Err(invalid(name, "symbolic link to nowhere"));
    }
    rustix::fs::symlinkat(target.as_ref(), folder, &name.file).map_err(write("make symbolic link", name.path()))
}

fn device<R: Read>(
    entry: &Entry<'_, R>,
    folder: BorrowedFd<'_>,
    name: &EntryName,
    kind: FileType,
) -> Result<(), ArchiveError> {
    let number = |part: io::Result<Option<u32>>| part.ok().flatten().ok_or_else(|| invalid(name, "bad device number"));
    let major = number(entry.header().device_major())?;
    let minor = number(entry.header().device_minor())?;
    rustix::fs::mknodat(
        folder,
        &name.file,
        kind,
        Mode::empty(),
        rustix::fs::makedev(major, minor),
    )
    .map_err(write("make device", name.path()))
}
