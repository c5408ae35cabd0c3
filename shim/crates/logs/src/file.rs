//! Logs that are files: records in a format, one behind the other, with rotation.

mod compress;
pub(crate) mod json;
mod local;
mod rotating;

use std::{collections::BTreeMap, io, path::Path};

use davit_luggage::{Packing, Unpacking};

use self::{json::JsonFormat, local::LocalFormat, rotating::RotatingFile};
use crate::{record::Record, rotation::Rotation, state::FileState};

/// As much of records as is written at once, in bytes, and one record. The memory for more would be given back to the kernel, and
/// fetched again, with each batch (see the shim's `ALLOCATOR`).
const MOST_WAITING: usize = 32 << 10;

/// A log file that is being written.
#[derive(Debug)]
pub(crate) struct FileLog {
    file: RotatingFile,
    format: Format,
}

/// How a record is written.
#[derive(Debug)]
pub(crate) enum Format {
    /// Docker's json-file.
    Json(JsonFormat),
    /// Docker's local.
    Local(LocalFormat),
}

impl Format {
    /// json-file with these attributes in each record.
    pub fn json(attributes: &BTreeMap<String, String>) -> Self {
        Self::Json(JsonFormat::new(attributes))
    }

    /// local with these attributes in each record.
    pub fn local(attributes: &BTreeMap<String, String>) -> Self {
        Self::Local(LocalFormat::new(attributes))
    }

    fn encode(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        match self {
            Self::Json(format) => format.encode(out, record),
            Self::Local(format) => format.encode(out, record),
        }
    }
}

impl FileLog {
    /// Opens the file to append to it, and makes it where it does not exist (mode 0640).
    pub fn open(path: &Path, rotation: Rotation, format: Format) -> io::Result<Self> {
        let file = RotatingFile::open(path, rotation)?;
        Ok(Self { file, format })
    }

    /// Goes on with a file that another program has written.
    pub fn adopt(
        path: &Path,
        rotation: Rotation,
        format: Format,
        state: FileState,
        unpacking: &mut Unpacking,
    ) -> io::Result<Self> {
        let file = RotatingFile::adopt(path, rotation, state, unpacking)?;
        Ok(Self { file, format })
    }

    /// The open file, for another program.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<FileState> {
        self.file.pack(packing)
    }

    /// Begins a batch; its records are written when it is finished.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch {
            log: self,
            waiting: Vec::with_capacity(MOST_WAITING + 1024),
            outcome: Ok(()),
        }
    }
}

/// Records that go to the file together.
#[must_use = "records are written when the batch is finished"]
pub(crate) struct Batch<'a> {
    log: &'a mut FileLog,
    waiting: Vec<u8>,
    outcome: io::Result<()>,
}

impl Batch<'_> {
    /// Adds a record. The file is rotated before it where it is full.
    pub fn push(&mut self, record: &Record<'_>) {
        if self.outcome.is_err() {
            return;
        }
        if self.log.file.is_full(self.waiting.len()) {
            self.outcome = self.make_room();
            self.waiting.clear();
        }
        self.log.file.last_time = record.time;
        self.log.format.encode(&mut self.waiting, record);
        if self.waiting.len() >= MOST_WAITING {
            self.outcome = self.log.file.append(&self.waiting);
            self.waiting.clear();
        }
    }

    fn make_room(&mut self) -> io::Result<()> {
        let file = &mut self.log.file;
        file.append(&self.waiting)?;
        // Somebody may have emptied it.
        if file.is_full(0) { file.rotate() } else { Ok(()) }
    }

    /// Writes what waits.
    ///
    /// On an error the records of this batch are lost from the first that could not be written; the file still ends with a whole
    /// record, and later batches may succeed.
    pub fn finish(self) -> io::Result<()> {
        self.outcome.and_then(|()| self.log.file.append(&self.waiting))
    }
}

#[cfg(test)]
mod tests;
