//! A file that is moved aside when it is full: `x.log` becomes `x.log.1`, that becomes `x.log.2`, and so on.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use davit_luggage::{Packing, Unpacking};
use jiff::Timestamp;
use rustix::{fs::OFlags, io::Errno};

use super::compress::Compression;
use crate::{rotation::Rotation, state::FileState};

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
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.into(),
            rotation,
            file,
            length: metadata.len(),
            // What is in it may have to be compressed before anything is added.
            last_time: Timestamp::try_from(metadata.modified()?).unwrap_or_default(),
            compression: None,
        })
    }

    /// Goes on with a file that another program has written.
    pub fn adopt(path: &Path, rotation: Rotation, state: FileState, unpacking: &mut Unpacking) -> io::Result<Self> {
        let file = File::from(unpacking.fd(state.file)?);
        let rotated = numbered(path, 1);
        let begin_again = state.compressing && exists(&rotated)?;
        Ok(Self {
            path: path.into(),
            rotation,
            length: file.metadata()?.len(),
            file,
            last_time: state.last_time,
            compression: begin_again
                .then(|| Compression::start(rotated, state.last_time))
                .flatten(),
        })
    }

    /// The open file, for another program.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<FileState> {
        let compressing = self
            .compression
            .as_ref()
            .is_some_and(|compression| !compression.has_ended());
        Ok(FileState {
            file: packing.fd(&self.file)?,
            last_time: self.last_time,
            compressing,
        })
    }

    /// Whether the file is full once so many bytes more are in it.
    pub fn is_full(&self, waiting: usize) -> bool {
        let length = self.length + waiting as u64;
        self.rotation.max_size.is_some_and(|max| length >= max)
    }

    /// Appends whole records: all of them or, on an error, none.
    pub fn append(&mut self, records: &[u8]) -> io::Result<()> {
        // Who needs room may have emptied the file meanwhile.
        self.length = self.file.metadata()?.len();
        let written = self.file.write_all(records);
        match written {
            Ok(()) => self.length += records.len() as u64,
            // A torn record would spoil the next one too. If this fails as well, there is nothing more to be done.
            Err(_) => drop(shorten(&self.file, self.length)),
        }
        written
    }

    /// Moves the file aside and begins a new one; with one file, it is replaced.
    ///
    /// A reader that has the old file open keeps it as it is. On an error no file is lost, however often this is tried again.
    pub fn rotate(&mut self) -> io::Result<()> {
        if let Some(compression) = self.compression.take() {
            compression.end();
        }
        // Before anything is moved: this is what fails where there is no descriptor or inode left.
        let new = with_suffix(&self.path, ".new");
        let file = open(&new, true)?;
        self.move_all_on()?;
        fs::rename(new, &self.path)?;
        self.file = file;
        self.length = 0;
        if self.rotation.compress {
            self.compression = Compression::start(numbered(&self.path, 1), self.last_time);
        }
        Ok(())
    }

    /// Moves each file on to the next number, up to the first that is free, or else over the last.
    fn move_all_on(&self) -> io::Result<()> {
        let last = self.rotation.max_files.get() - 1;
        // Where the file is missing, an earlier attempt has come this far, or somebody has taken it away.
        if last == 0 || !exists(&self.path)? {
            return Ok(());
        }
        let mut free = 1;
        while free < last && self.is_taken(free)? {
            free += 1;
        }
        (1..=free).rev().try_for_each(|number| self.move_on(number))
    }

    fn is_taken(&self, number: u32) -> io::Result<bool> {
        let path = numbered(&self.path, number);
        Ok(exists(&path)? || exists(&compressed(&path))?)
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

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a regular file. Anything else could block the whole shim: at once, as a FIFO that nobody reads, or with each write.
fn open(path: &Path, truncate: bool) -> io::Result<File> {
    let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path);
    let file = match opened {
        // A FIFO without a reader, or a socket.
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Err(irregular()),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(irregular());
    }
    if truncate {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Cuts off what lies behind `length`. A file that is shorter stays so: to extend it would fill it with zero bytes.
fn shorten(file: &File, length: u64) -> io::Result<()> {
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_cut_off_and_a_file_that_was_emptied_stays_empty() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"whole,to").unwrap();
        for (length, expected) in [(6, 6), (100, 6), (0, 0), (6, 0)] {
            shorten(&file, length).unwrap();
            assert_eq!(file.metadata().unwrap().len(), expected);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let refused = |path| open(path, false).unwrap_err().to_string();
        assert_eq!(refused(&fifo), "it is not a regular file");
        let _reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        assert_eq!(refused(&fifo), "it is not a regular file");
        assert_eq!(refused(Path::new("/dev/null")), "it is not a regular file");
    }
}
