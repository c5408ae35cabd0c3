use std::io;

use davit_vocabulary::ErrorKind;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the store {path}: {source}")]
    Open {
        /// Where the store lies.
        path: String,
        /// What redb says.
        source: redb::DatabaseError,
    },
    /// The file was written by a newer program.
    #[error("the store has schema version {found}, this program knows versions up to {known}")]
    TooNew {
        /// The version in the file.
        found: u64,
        /// The newest version that this program reads.
        known: u64,
    },
    /// A write met a full disk, and there is no room yet to open the store again.
    #[error("the store {path} takes no writes: its file system has {room} bytes left")]
    Full {
        /// Where the store lies.
        path: String,
        /// The bytes left.
        room: u64,
    },
    /// A transaction failed.
    #[error("store: {0}")]
    Redb(#[from] redb::Error),
    /// A stored record does not decode.
    #[error("stored record {bucket}/{namespace}/{key} is damaged: {source}")]
    Damaged {
        /// The bucket of the record.
        bucket: &'static str,
        /// The namespace of the record.
        namespace: String,
        /// The key of the record.
        key: String,
        /// What the decoder says.
        source: serde_json::Error,
    },
    /// A record does not encode.
    #[error("cannot encode a record of {bucket}: {source}")]
    Encode {
        /// The bucket of the record.
        bucket: &'static str,
        /// What the encoder says.
        source: serde_json::Error,
    },
    /// A label is larger than the 4096 bytes that containerd allows.
    #[error(
        "{of}.Labels: label key and value length ({length} bytes) greater than maximum size (4096 bytes), key: {key}: invalid argument"
    )]
    LabelTooLong {
        /// What the label is of, in containerd's words.
        of: &'static str,
        /// The start of the label's key.
        key: String,
        /// The bytes of key and value together.
        length: usize,
    },
    /// A namespace does not exist.
    #[error("namespace {0:?}: not found")]
    NoNamespace(String),
    /// A namespace exists already.
    #[error("namespace {0:?}: already exists")]
    NamespaceExists(String),
    /// A namespace still holds something.
    #[error("namespace {namespace:?} must be empty, but it still has {holds}: failed precondition")]
    NamespaceInUse {
        /// The namespace.
        namespace: String,
        /// The kinds of things in it.
        holds: String,
    },
    /// A lease named by the caller does not exist.
    #[error("lease does not exist: not found")]
    NoLease(String),
}

impl StoreError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::LabelTooLong { .. } => ErrorKind::InvalidArgument,
            Self::NoNamespace(_) | Self::NoLease(_) => ErrorKind::NotFound,
            Self::NamespaceExists(_) => ErrorKind::AlreadyExists,
            Self::NamespaceInUse { .. } => ErrorKind::FailedPrecondition,
            Self::Damaged { .. } => ErrorKind::DataLoss,
            Self::Full { .. } => ErrorKind::ResourceExhausted,
            Self::Redb(redb::Error::Io(error)) if error.kind() == io::ErrorKind::StorageFull => {
                ErrorKind::ResourceExhausted
            }
            Self::Open { .. } | Self::TooNew { .. } | Self::Redb(_) | Self::Encode { .. } => ErrorKind::Internal,
        }
    }
}
