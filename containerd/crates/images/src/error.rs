use davit_content::ContentError;
use davit_metadata::StoreError;
use davit_snapshots::SnapshotError;
use davit_vocabulary::ErrorKind;

/// Why a call about images or leases was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no such image.
    #[error("image {0:?}: not found")]
    NotFound(String),
    /// The name is taken.
    #[error("image {0:?}: already exists")]
    Exists(String),
    /// The image stands for something else than the caller thinks.
    #[error("image {0:?} has a different target: not found")]
    OtherTarget(String),
    /// A part of an image record is missing or wrong.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// There is no such lease.
    #[error("lease {0:?}: not found")]
    NoLease(String),
    /// The lease's id is taken.
    #[error("lease {0:?}: already exists")]
    LeaseExists(String),
    /// The content store refused or failed.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The snapshotter refused or failed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The record store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::OtherTarget(_) | Self::NoLease(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::LeaseExists(_) => ErrorKind::AlreadyExists,
            Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Content(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
