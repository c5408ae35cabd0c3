use std::{io, path::Path};

use davit_metadata::StoreError;
use davit_vocabulary::ErrorKind;

/// Why a snapshot call was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No snapshot has this key.
    #[error("snapshot {0} does not exist: not found")]
    NotFound(String),
    /// The parent named does not exist.
    #[error("parent snapshot {0} does not exist: not found")]
    NoParent(String),
    /// A key or name is taken.
    #[error("snapshot {0:?}: already exists")]
    Exists(String),
    /// What the preparation was for is there already.
    #[error("target snapshot {0:?}: already exists")]
    TargetExists(String),
    /// Only committed snapshots can be parents.
    #[error("failed to create snapshot: parent {0:?} is not committed snapshot: invalid argument")]
    ParentNotCommitted(String),
    /// Only active snapshots can be committed.
    #[error("failed to commit snapshot {0}: snapshot {0:?} is not active: failed precondition")]
    NotActive(String),
    /// A committed snapshot has no mounts.
    #[error("failed to get active mount: requested snapshot {0} not active or view: failed precondition")]
    Committed(String),
    /// The snapshot is a parent.
    #[error("cannot remove snapshot with child: failed precondition")]
    HasChild,
    /// A commit cannot change a parent.
    #[error("cannot change parent of active snapshot {0:?} on commit: invalid argument")]
    ParentChanged(String),
    /// A call without the key that it needs.
    #[error("snapshot key must not be empty: invalid argument")]
    EmptyKey,
    /// A field that cannot be changed was to be changed.
    #[error("cannot update {field:?} field on snapshot {key:?}: invalid argument")]
    Immutable {
        /// The field.
        field: String,
        /// The snapshot.
        key: String,
    },
    /// A label asks for what this snapshotter does not do.
    #[error("snapshot label {0:?} is not supported by the overlayfs snapshotter")]
    UnsupportedLabel(String),
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
    /// The record store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SnapshotError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoParent(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::TargetExists(_) => ErrorKind::AlreadyExists,
            Self::ParentNotCommitted(_) | Self::ParentChanged(_) | Self::EmptyKey | Self::Immutable { .. } => {
                ErrorKind::InvalidArgument
            }
            Self::NotActive(_) | Self::Committed(_) | Self::HasChild => ErrorKind::FailedPrecondition,
            Self::UnsupportedLabel(_) => ErrorKind::Unimplemented,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
            Self::File { .. } => ErrorKind::Internal,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Names the file and what was done to it in an I/O error.
pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> SnapshotError {
    let path = path.display().to_string();
    move |source| SnapshotError::File {
        action,
        path,
        source: source.into(),
    }
}
