use std::{io, path::PathBuf};

use crate::InvalidOption;

/// A log driver that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Its options.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// Its file.
    #[error("cannot open the log {path}: {source}", path = path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Nobody takes the records.
    #[error("cannot reach the log driver's peer {peer}: {source}")]
    Peer {
        /// Where it should be; all places, where several would do.
        peer: String,
        /// What came of it.
        source: io::Error,
    },
}
