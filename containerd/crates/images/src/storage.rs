use std::{path::Path, sync::Arc};

use davit_content::ContentStore;
use davit_metadata::{Database, Listener};
use davit_snapshots::Overlay;

use crate::{ImageError, ImageStore, LeaseStore, collect::Removals};

/// The stores of one manager. Clones share them.
#[derive(Clone)]
pub struct Storage {
    /// The records of everything.
    pub database: Arc<Database>,
    /// Blobs.
    pub content: ContentStore,
    /// Snapshots of the one snapshotter, overlayfs.
    pub snapshots: Overlay,
    /// Image names.
    pub images: ImageStore,
    /// Leases.
    pub leases: LeaseStore,
    pub(crate) listener: Listener,
    pub(crate) removals: Arc<Removals>,
}

impl Storage {
    /// Opens all stores below `root` and removes what a crash left. `listener` hears of every change from then on.
    pub fn open(root: &Path, database: Arc<Database>, listener: Listener) -> Result<Self, ImageError> {
        let content_root = root.join("io.containerd.content.v1.content");
        let snapshot_root = root.join("io.containerd.snapshotter.v1.overlayfs");
        let storage = Self {
            content: ContentStore::open(&content_root, database.clone(), listener.clone())?,
            snapshots: Overlay::open(&snapshot_root, database.clone(), listener.clone())?,
            images: ImageStore::new(database.clone(), listener.clone()),
            leases: LeaseStore::new(database.clone()),
            database,
            listener,
            removals: Arc::default(),
        };
        storage.discard_unfinished_layers()?;
        Ok(storage)
    }
}
