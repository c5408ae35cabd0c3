//! `tmpcopyup`: a tmpfs that begins with what it covers.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::{
    fs::{
        AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fstat, mkdirat, mknodat, openat,
        readlinkat, statat, symlinkat,
    },
    io::{Errno, read, write},
};

const CHUNK: usize = 64 * 1024;

/// Copies all entries of the directory `from` into the directory `to`, with owners and modes. Extended attributes are
/// not copied. No link is followed, so nothing outside of `from` is read.
pub fn copy_up(from: BorrowedFd, to: BorrowedFd) -> Result<(), Errno> {
    let readable = openat(
        from,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for entry in Dir::new(readable)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        copy_entry(from, to, name, &stat)?;
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        restore_mode(to, name, &stat)?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd, to: BorrowedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let (from, to) = (
                openat(from, name, folder, Mode::empty())?,
                openat(to, name, folder, Mode::empty())?,
            );
            copy_up(from.as_fd(), to.as_fd())
        }
        FileType::RegularFile => copy_file(from, to, name),
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?, to, name),
        other => mknodat(to, name, other, Mode::RUSR | Mode::WUSR, stat.st_rdev),
    }
}

fn copy_file(from: BorrowedFd, to: BorrowedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
    // Somebody may put a FIFO there meanwhile, at which an open would wait for ever.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&source)?.st_mode) != FileType::RegularFile {
        return Err(Errno::AGAIN);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let copy = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let mut buffer = vec![0u8; CHUNK];
    loop {
        let length = read(&source, &mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            rest = &rest[write(&copy, rest)?..];
        }
    }
}

/// After the owner: a change of owner clears the set-id bits.
fn restore_mode(to: BorrowedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => Ok(()),
        FileType::Directory | FileType::RegularFile => fchmod(
            openat(
                to,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
            mode,
        ),
        _ => rustix::fs::chmodat(to, name, mode, AtFlags::empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_its_modes_and_its_links_unfollowed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/file"), "text").unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
        let open = |path| fs::File::open(path).unwrap();
        copy_up(open(&from).as_fd(), open(&to).as_fd()).unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/file")).unwrap(), "text");
        assert_eq!(
            fs::metadata(to.join("sub/file")).unwrap().permissions().mode() & 0o7777,
            0o4755
        );
        assert_eq!(fs::read_link(to.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    }
}
