//! Reading a container's json-file log: from the shim's files, never from the shim.

mod follow;
mod line;
mod position;

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

pub use line::{LogLine, LogStream};

use crate::{container::Container, error::ContainerError};

/// How much is read at once, in bytes.
const PIECE: usize = 128 << 10;

/// A line longer than this is no line of ours: the shim splits at 16 KiB, which JSON makes six times as long at most.
const LONGEST_LINE: usize = 1 << 20;

/// What a client wants of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// Whether standard output is wanted.
    pub stdout: bool,
    /// Whether standard error is wanted.
    pub stderr: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Nothing newer.
    pub until: Option<Timestamp>,
    /// Only so many of the last lines; `None` for all.
    pub tail: Option<usize>,
    /// Whether to go on until the container stops.
    pub follow: bool,
}

/// Reads a log into a channel, line by line. The channel ends after the last line; a receiver that goes away ends the
/// reading. A slow receiver slows nothing but itself.
pub fn read(
    container: Arc<Container>,
    log: PathBuf,
    query: LogQuery,
) -> mpsc::Receiver<Result<LogLine, ContainerError>> {
    let (lines, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let result = follow::run(&container, &log, query, &lines).await;
        if let Err(source) = result {
            let error = ContainerError::File {
                action: "reading",
                path: log.display().to_string(),
                source,
            };
            let _ = lines.send(Err(error)).await;
        }
    });
    receiver
}

/// Where the log ended when somebody asked for what there is: a busy writer must not keep such a reader for ever.
#[derive(Clone, Copy, Debug)]
struct End {
    inode: u64,
    length: u64,
}

impl End {
    /// The present end of the newest file.
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            length: metadata.len(),
        })
    }
}

/// An open log file and the bytes of it that are not yet a whole line.
struct Reader {
    file: File,
    pending: Vec<u8>,
    end: Option<End>,
}

impl Reader {
    fn open(path: &Path, offset: u64, end: Option<End>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self {
            file,
            pending: Vec::new(),
            end,
        })
    }

    /// How much may be read of this file now, in bytes, at most [`PIECE`].
    fn allowance(&mut self) -> io::Result<usize> {
        let Some(end) = self.end else { return Ok(PIECE) };
        if self.file.metadata()?.ino() != end.inode {
            return Ok(PIECE);
        }
        let left = end.length.saturating_sub(self.file.stream_position()?);
        Ok(usize::try_from(left).map_or(PIECE, |left| left.min(PIECE)))
    }

    /// The next whole lines; none at the file's present end.
    fn next_lines(&mut self) -> io::Result<Vec<LogLine>> {
        loop {
            let mut piece = vec![0; self.allowance()?];
            let count = self.file.read(&mut piece)?;
            self.pending.extend_from_slice(&piece[..count]);
            let lines = self.take_lines();
            if count == 0 || !lines.is_empty() {
                return Ok(lines);
            }
            if self.pending.len() > LONGEST_LINE {
                self.pending.clear();
            }
        }
    }

    fn take_lines(&mut self) -> Vec<LogLine> {
        let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.pending.split_off(end + 1);
        let whole = std::mem::replace(&mut self.pending, rest);
        // A line that is not JSON was torn by a crash: the others are good.
        whole.split(|byte| *byte == b'\n').filter_map(line::parse).collect()
    }

    /// The file that followed this one, if the shim has rotated since; none while this is the newest.
    fn successor(&self, log: &Path) -> io::Result<Option<Self>> {
        let own = self.file.metadata()?.ino();
        if self.end.is_some_and(|end| end.inode == own) {
            return Ok(None);
        }
        let newest_first = position::files(log);
        let place = newest_first
            .iter()
            .position(|path| path.metadata().is_ok_and(|metadata| metadata.ino() == own));
        match place {
            Some(0) => Ok(None),
            Some(place) => Self::open(&newest_first[place - 1], 0, self.end).map(Some),
            // Rotated away altogether: go on with the oldest that is left.
            None => newest_first
                .last()
                .map(|path| Self::open(path, 0, self.end))
                .transpose(),
        }
    }

    /// With one file only the shim empties it in place.
    fn rewind_if_emptied(&mut self) -> io::Result<()> {
        let at = self.file.stream_position()?;
        if self.file.metadata()?.len() < at {
            self.file.rewind()?;
            self.pending.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
