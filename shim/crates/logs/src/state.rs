//! A log on its way to another program: unfinished lines, and records that wait.

use davit_luggage::{Bytes, Fd};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::{Partial, RandomId, Record, Source};

/// What a log is besides what its target says.
#[derive(Debug, Serialize, Deserialize)]
pub struct LogState {
    /// Of stdout and stderr.
    pub(crate) lines: [LineState; 2],
    /// The file, where it is written at once.
    pub(crate) file: Option<FileState>,
    /// Records that wait for a disk or a peer.
    #[serde(default)]
    pub(crate) waiting: Vec<RecordState>,
}

/// An open file of a log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileState {
    pub file: Fd,
    /// Time of the last record.
    pub last_time: Timestamp,
    /// The file before it is being compressed.
    #[serde(default)]
    pub compressing: bool,
}

/// The unfinished line of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LineState {
    pub pending: Bytes,
    pub began: Option<Timestamp>,
    pub cut: Option<(Bytes, u32)>,
}

/// A record that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordState {
    is_error: bool,
    time: Timestamp,
    line: Bytes,
    /// Id, ordinal, and whether it is the last.
    partial: Option<(Bytes, u32, bool)>,
}

impl RecordState {
    /// Of a record.
    pub fn of(record: &Record<'_>) -> Self {
        let partial = |partial: Partial| (Bytes(partial.id.bytes().into()), partial.ordinal, partial.last);
        Self {
            is_error: record.source == Source::Stderr,
            time: record.time,
            line: Bytes(record.line.to_vec()),
            partial: record.partial.map(partial),
        }
    }

    /// The record.
    pub fn into_record(self) -> Record<'static> {
        let partial = |(id, ordinal, last): (Bytes, u32, bool)| Partial {
            id: id_of(&id),
            ordinal,
            last,
        };
        Record {
            source: if self.is_error { Source::Stderr } else { Source::Stdout },
            time: self.time,
            line: self.line.0.into(),
            partial: self.partial.map(partial),
        }
    }
}

/// An id of these bytes; a new one where they are none.
pub(crate) fn id_of(bytes: &Bytes) -> RandomId {
    <[u8; 32]>::try_from(bytes.0.as_slice()).map_or_else(|_| RandomId::new(), RandomId::from_bytes)
}
