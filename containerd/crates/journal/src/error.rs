use std::{io, path::PathBuf};

use davit_vocabulary::ErrorKind;

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or a file in it cannot be opened, made or put aside.
    #[error("cannot open the journal {path}: {source}")]
    Open {
        /// Where the journal lies.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file was written by a program of another version.
    #[error("the journal {path} has version {found}, this program knows version {known}")]
    Version {
        /// The file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// Entries that are held cannot be read.
    #[error("cannot read the journal: {0}")]
    Read(#[source] io::Error),
    /// An entry was not stored.
    #[error("event is not journalled: {0}")]
    NotStored(String),
    /// The entries asked for are not there.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
}

/// Why one cannot go on from a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfRange {
    /// Entries after it are not held any more.
    #[error("events after {after} are not held any more, the oldest is {oldest}")]
    TooOld {
        /// The number.
        after: u64,
        /// The first that is held.
        oldest: u64,
    },
    /// It was not given yet.
    #[error("event {after} is not there yet, the last is {last}")]
    Ahead {
        /// The number.
        after: u64,
        /// The last that was given.
        last: u64,
    },
}

impl JournalError {
    /// The kind of this failure. Whoever sends an event may send it again.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfRange(_) => ErrorKind::OutOfRange,
            Self::NotStored(_) => ErrorKind::Unavailable,
            Self::Read(error) if error.kind() == io::ErrorKind::InvalidData => ErrorKind::DataLoss,
            Self::Read(_) | Self::Open { .. } | Self::Version { .. } => ErrorKind::Internal,
        }
    }
}
