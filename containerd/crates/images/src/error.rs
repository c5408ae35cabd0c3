use davit_archive::ArchiveError;
use davit_content::ContentError;
use davit_metadata::StoreError;
use davit_registry::RegistryError;
use davit_snapshots::SnapshotError;
use davit_vocabulary::{Digest, ErrorKind};

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
    #[error("image {name:?} has target {found}, not {expected}: not found")]
    OtherTarget {
        /// The image.
        name: String,
        /// What it stands for.
        found: Digest,
        /// What the caller thinks.
        expected: Digest,
    },
    /// A part of an image record is missing or wrong.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// A transfer brought something and has no name for it.
    #[error("no image name found: not found")]
    NoName,
    /// A document of an image is not what it must be.
    #[error("image document {digest}: {problem}: invalid argument")]
    Document {
        /// The document.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive is no image, or a damaged one.
    #[error("image archive: {0}: invalid argument")]
    Archive(String),
    /// An image has nothing for the platforms asked for.
    #[error("no match for platform {wanted} in image {digest}: not found")]
    NoPlatform {
        /// The platforms.
        wanted: String,
        /// The index.
        digest: Digest,
    },
    /// A layer unpacked is not the one that the configuration names.
    #[error("wrong diff id calculated on extraction {found}, expected {expected}: failed precondition")]
    DiffId {
        /// The digest of what was unpacked.
        found: Digest,
        /// The digest in the configuration.
        expected: Digest,
    },
    /// A request asks for what is not offered.
    #[error("{0}: not implemented")]
    Unsupported(String),
    /// The transfer was ended by its client.
    #[error("transfer cancelled")]
    Cancelled,
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
    /// A layer could not be applied.
    #[error(transparent)]
    Layer(#[from] ArchiveError),
    /// The registry refused or failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The record store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_)
            | Self::OtherTarget { .. }
            | Self::NoLease(_)
            | Self::NoName
            | Self::NoPlatform { .. } => ErrorKind::NotFound,
            Self::Exists(_) | Self::LeaseExists(_) => ErrorKind::AlreadyExists,
            Self::Invalid(_) | Self::Document { .. } | Self::Archive(_) => ErrorKind::InvalidArgument,
            Self::DiffId { .. } => ErrorKind::FailedPrecondition,
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Layer(error) => error.kind(),
            Self::Registry(error) => error.kind(),
            Self::Content(error) => error.kind(),
            Self::Snapshot(error) => error.kind(),
            Self::Store(error) => error.kind(),
        }
    }
}
