//! Reading and writing the files of a cgroup directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fd::BorrowedFd,
    fs::{Mode, OFlags, openat},
    io::Errno,
};

use crate::{CgroupError, Result};

/// Writes `value` to `dir/name` in one call.
pub(crate) fn write(dir: &Path, name: &str, value: &str) -> Result<()> {
    ControlFile::open(dir, name)?.write(value)
}

/// An open control file, for several writes in a row.
pub(crate) struct ControlFile {
    file: File,
    path: PathBuf,
}

impl ControlFile {
    /// Opens `dir/name` for writing; it must exist, a cgroup directory makes no new files.
    pub(crate) fn open(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(ControlFile { file, path }),
            Err(source) => Err(CgroupError::Write {
                path,
                value: String::new(),
                source,
            }),
        }
    }

    /// Writes one value; the kernel judges each write on its own.
    pub(crate) fn write(&mut self, value: &str) -> Result<()> {
        self.file
            .write_all(value.as_bytes())
            .map_err(|source| CgroupError::Write {
                path: self.path.clone(),
                value: value.into(),
                source,
            })
    }
}

/// The contents of `dir/name` without the white space around them.
pub(crate) fn read(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    match read_whole(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// The contents of a file that the kernel makes up as it is read.
pub(crate) fn read_whole(path: &Path) -> io::Result<String> {
    contents(File::open(path)?)
}

/// Such a file has no size to ask for, so it is not asked: `fs::read_to_string` spends two more calls on that.
fn contents(mut file: File) -> io::Result<String> {
    let mut bytes = vec![0; 4096];
    let mut length = 0;
    loop {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData.into())
}

/// Like [`read`], but `None` where this kernel or this cgroup has no such file.
pub(crate) fn read_if_exists(dir: &Path, name: &str) -> Result<Option<String>> {
    match read(dir, name) {
        Ok(text) => Ok(Some(text)),
        // Some files exist but are not implemented for the cgroup's mode.
        Err(CgroupError::Read { source, .. })
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) =>
        {
            Ok(None)
        }
        Err(err) => Err(err),
    }
}

/// The contents of a file of an open cgroup directory.
pub(crate) fn read_at(dir: BorrowedFd<'_>, name: &str) -> std::result::Result<String, Errno> {
    let file = openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    contents(File::from(file)).map_err(|err| Errno::from_io_error(&err).unwrap_or(Errno::IO))
}

/// Writes `value` to a file of an open cgroup directory, in one call.
pub(crate) fn write_at(dir: BorrowedFd<'_>, name: &str, value: &str) -> std::result::Result<(), Errno> {
    let file = openat(
        dir,
        name,
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(file, value.as_bytes()).map(drop)
}

/// A file that holds one number; `max` is the highest one.
pub(crate) fn read_number(dir: &Path, name: &str) -> Result<u64> {
    let text = read(dir, name)?;
    number(&text).ok_or_else(|| CgroupError::Contents {
        path: dir.join(name),
        contents: text,
    })
}

/// Like [`read_number`], but `None` where there is no such file.
pub(crate) fn read_number_if_exists(dir: &Path, name: &str) -> Result<Option<u64>> {
    match read_if_exists(dir, name)? {
        None => Ok(None),
        Some(text) => number(&text).map(Some).ok_or_else(|| CgroupError::Contents {
            path: dir.join(name),
            contents: text,
        }),
    }
}

/// The lines of the form `key value`; others are passed over.
pub(crate) fn key_values(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value.trim())?))
    })
}

/// The value of `key` in a file of `key value` lines.
pub(crate) fn value_of(text: &str, key: &str) -> Option<u64> {
    key_values(text)
        .find(|(found, _)| *found == key)
        .map(|(_, value)| value)
}

/// A number as the kernel prints it: `max`, or -1 in some v1 files, stand for "no limit".
pub(crate) fn number(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(u64::MAX),
        digits => digits.parse().ok(),
    }
}

pub(crate) fn exists(dir: &Path, name: &str) -> bool {
    dir.join(name).exists()
}
