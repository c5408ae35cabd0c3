use std::{io, path::Path};

use davit_metadata::StoreError;
use davit_vocabulary::{Digest, ErrorKind};

/// Why the content store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The namespace has no such blob.
    #[error("content digest {0}: not found")]
    NotFound(Digest),
    /// There is no write under this ref.
    #[error("reference {0}: not found")]
    NoIngest(String),
    /// The namespace has the blob already.
    #[error("content {0}: already exists")]
    Exists(Digest),
    /// Another call writes under this ref now.
    #[error("ref {0:?} is locked by another write: unavailable")]
    Locked(String),
    /// A write must name its ref.
    #[error("ref must not be empty")]
    EmptyRef,
    /// Data or a commit came for another place than the end.
    #[error("write @{asked} must occur at current offset {current}")]
    Offset {
        /// Where the client wants to write.
        asked: u64,
        /// Where the write stands.
        current: u64,
    },
    /// A read begins after the end.
    #[error("read past object length {size} bytes")]
    ReadOffset {
        /// The blob's size.
        size: u64,
    },
    /// The committed bytes have another length than was promised.
    #[error("{name:?} failed size validation: {found} != {expected}: failed precondition")]
    Size {
        /// The ref of the write, or the blob that is too large to be read at once.
        name: String,
        /// The bytes written.
        found: u64,
        /// The bytes promised.
        expected: u64,
    },
    /// The committed bytes have another digest than was promised.
    #[error("unexpected commit digest {found}, expected {expected}: failed precondition")]
    Digest {
        /// The digest of what was written.
        found: Digest,
        /// The digest promised.
        expected: Digest,
    },
    /// Blobs are named by SHA-256 only.
    #[error("digest {0} uses an algorithm that this store does not write: only sha256 is supported")]
    Algorithm(Digest),
    /// A field that cannot be changed was to be changed.
    #[error("cannot update {field:?} field on content info \"{digest}\": invalid argument")]
    Immutable {
        /// The field.
        field: String,
        /// The blob.
        digest: Digest,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The call's lease cannot hold a blob that is there already.
    #[error("unable to lease content: {0}")]
    NotLeased(StoreError),
    /// The record store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ContentError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoIngest(_) => ErrorKind::NotFound,
            Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::Locked(_) => ErrorKind::Unavailable,
            Self::EmptyRef | Self::Immutable { .. } | Self::Algorithm(_) => ErrorKind::InvalidArgument,
            Self::Offset { .. } | Self::ReadOffset { .. } => ErrorKind::OutOfRange,
            Self::Size { .. } | Self::Digest { .. } => ErrorKind::FailedPrecondition,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
            Self::File { .. } => ErrorKind::Internal,
            Self::Store(error) | Self::NotLeased(error) => error.kind(),
        }
    }

    pub(crate) fn not_leased(self) -> Self {
        match self {
            Self::Store(error) => Self::NotLeased(error),
            other => other,
        }
    }
}

/// Names the file and what was done to it in an I/O error.
pub(crate) fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ContentError + 'a {
    move |source| ContentError::File {
        action,
        path: path.display().to_string(),
        source,
    }
}
