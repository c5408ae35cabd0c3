use std::io;

use davit_vocabulary::ErrorKind;

/// Why a layer could not be applied or made.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The stream is not a whole archive: truncated, not decodable, or not a tar at all.
    #[error("cannot read the layer: {0}")]
    Read(io::Error),
    /// The archive holds what no layer may hold.
    #[error("invalid layer entry {name:?}: {problem}")]
    Entry {
        /// The entry's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry could not be written.
    #[error("cannot {action} {name:?}: {source}")]
    Write {
        /// What was tried.
        action: &'static str,
        /// The entry's name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The media type names no layer that can be read here.
    #[error("layer media type {0:?} is not supported")]
    MediaType(String),
}

impl ArchiveError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read(_) => ErrorKind::DataLoss,
            Self::Entry { .. } => ErrorKind::InvalidArgument,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
            Self::Write { .. } => ErrorKind::Internal,
            Self::MediaType(_) => ErrorKind::Unimplemented,
        }
    }
}
