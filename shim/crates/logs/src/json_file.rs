//! Docker's json-file: one object per line with the fields `log`, `stream` and `time`.

mod encode;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;

use crate::{Rotation, Source, lines::Lines};

/// A log file that is being written.
#[derive(Debug)]
pub struct JsonFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// The file's length up to its last whole record.
    length: u64,
    stdout: Lines,
    stderr: Lines,
}

impl JsonFile {
    /// Opens the file to append to it, and makes it where it does not exist (mode 0640).
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = open(path, false)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.into(),
            rotation,
            file,
            length,
            stdout: Lines::default(),
            stderr: Lines::default(),
        })
    }

    /// Appends output as it came from the process at `now`.
    ///
    /// On an error the records of this call are lost from the first that could not be written; the file still ends with a whole
    /// record, and later calls may succeed.
    pub fn write(&mut self, source: Source, bytes: &[u8], now: Timestamp) -> io::Result<()> {
        self.records(source, |lines, emit| lines.push(bytes, now, emit))
    }

    /// Appends what is left of a stream that has ended: a line without a newline.
    pub fn finish(&mut self, source: Source, now: Timestamp) -> io::Result<()> {
        self.records(source, |lines, emit| lines.finish(now, emit))
    }

    fn records(
        &mut self,
        source: Source,
        feed: impl FnOnce(&mut Lines, &mut dyn FnMut(&[u8], Timestamp)),
    ) -> io::Result<()> {
        let mut lines = std::mem::take(self.lines(source));
        let mut batch = Vec::new();
        let mut outcome = Ok(());
        let mut stamp = encode::Stamp::default();
        feed(&mut lines, &mut |piece, time| {
            if outcome.is_err() {
                return;
            }
            if self.is_full(batch.len()) {
                outcome = self.append(&batch).and_then(|()| self.rotate());
                batch.clear();
            }
            encode::record(&mut batch, piece, source.name(), stamp.of(time));
        });
        *self.lines(source) = lines;
        outcome.and_then(|()| self.append(&batch))
    }

    fn lines(&mut self, source: Source) -> &mut Lines {
        match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        }
    }

    fn is_full(&self, waiting: usize) -> bool {
        let length = self.length + waiting as u64;
        self.rotation.max_size.is_some_and(|max| length >= max)
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(batch);
        match written {
            Ok(()) => self.length += batch.len() as u64,
            // A torn record would spoil the next one too. If this fails as well, there is nothing more to be done.
            Err(_) => drop(self.file.set_len(self.length)),
        }
        written
    }

    /// `x.log` becomes `x.log.1`, that becomes `x.log.2`, and so on; with one file it begins anew.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.rotation.max_files.get()).rev() {
            let older = if number == 1 {
                self.path.clone()
            } else {
                numbered(&self.path, number - 1)
            };
            match fs::rename(older, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path, true)?;
        self.length = 0;
        Ok(())
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
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests;
