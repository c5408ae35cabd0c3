//! A file that is moved aside when it is full: `x.log` becomes `x.log.1`, that becomes `x.log.2`, and so on.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use super::compress::Compression;
use crate::rotation::Rotation;

/// The current file of a log.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// The file's length up to its last whole record.
    length: u64,
    /// Time of the last record.
    pub last_time: Timestamp,
    /// The last rotated file, which may still be being compressed.
    compression: Option<Compression>,
}

impl RotatingFile {
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = open(path, false)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.into(),
            rotation,
            file,
            length,
            last_time: Timestamp::UNIX_EPOCH,
            compression: None,
        })
    }

    /// Whether the file is full once so many bytes more are in it.
    pub fn is_full(&self, waiting: usize) -> bool {
        let length = self.length + waiting as u64;
        self.rotation.max_size.is_some_and(|max| length >= max)
    }

    /// Appends whole records: all of them or, on an error, none.
    pub fn append(&mut self, records: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(records);
        match written {
            Ok(()) => self.length += records.len() as u64,
            // A torn record would spoil the next one too. If this fails as well, there is nothing more to be done.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }

    /// Moves the file aside and begins a new one; with one file, it is removed.
    ///
    /// A reader that has the old file open keeps it as it is.
    pub fn rotate(&mut self) -> io::Result<()> {
        if let Some(compression) = self.compression.take() {
            compression.end();
        }
        let last = self.rotation.max_files.get() - 1;
        for number in (1..=last).rev() {
            self.move_on(number)?;
        }
        if last == 0 {
            missing_is_fine(fs::remove_file(&self.path))?;
        }
        self.file = open(&self.path, true)?;
        self.length = 0;
        if self.rotation.compress {
            self.compression = Compression::start(numbered(&self.path, 1), self.last_time);
        }
        Ok(())
    }

    /// Makes the file before it the file of this number. A file is there compressed or, where that failed, as it was.
    fn move_on(&self, number: u32) -> io::Result<()> {
        let to = numbered(&self.path, number);
        if number == 1 {
            return missing_is_fine(fs::rename(&self.path, to));
        }
        let from = numbered(&self.path, number - 1);
        missing_is_fine(fs::remove_file(&to))?;
        missing_is_fine(fs::remove_file(compressed(&to)))?;
        missing_is_fine(fs::rename(compressed(&from), compressed(&to)))?;
        missing_is_fine(fs::rename(from, to))
    }
}

fn missing_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn open(path: &Path, truncate: bool) -> io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
    if truncate {
        file.set_len(0)?;
    }
    Ok(file)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!(".{number}"))
}

/// The name of a file that is compressed.
pub fn compressed(path: &Path) -> PathBuf {
    with_suffix(path, ".gz")
}

/// A path with something behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
