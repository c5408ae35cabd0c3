use std::sync::Arc;

use davit_vocabulary::{Digest, Namespace};

use crate::Labels;

/// Something that happened to stored objects, told after it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace got a blob.
    ContentCreated {
        /// The blob.
        digest: Digest,
        /// Its bytes.
        size: u64,
    },
    /// A namespace lost a blob.
    ContentDeleted {
        /// The blob.
        digest: Digest,
    },
    /// An image name was made.
    ImageCreated {
        /// The name.
        name: String,
        /// Its labels.
        labels: Labels,
    },
    /// An image was changed.
    ImageUpdated {
        /// The name.
        name: String,
        /// Its labels.
        labels: Labels,
    },
    /// An image name was removed.
    ImageDeleted {
        /// The name.
        name: String,
    },
    /// An active snapshot or a view was made.
    SnapshotPrepared {
        /// Its key.
        key: String,
        /// Its parent; empty where it has none.
        parent: String,
        /// Its snapshotter.
        snapshotter: String,
    },
    /// An active snapshot was committed.
    SnapshotCommitted {
        /// The key it had.
        key: String,
        /// The name it has now.
        name: String,
        /// Its snapshotter.
        snapshotter: String,
    },
    /// A snapshot was removed.
    SnapshotRemoved {
        /// Its key.
        key: String,
        /// Its snapshotter.
        snapshotter: String,
    },
}

/// Hears of every [`Change`]; must not block.
pub type Listener = Arc<dyn Fn(&Namespace, Change) + Send + Sync>;

/// A listener that hears nothing.
pub fn deaf() -> Listener {
    Arc::new(|_, _| {})
}
