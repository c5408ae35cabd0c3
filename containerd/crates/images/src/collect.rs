//! Removing what nothing needs any more.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::SystemTime,
};

use davit_metadata::{
    CONTENT, Change, IMAGES, INGESTS, LEASES, OVERLAY_SNAPSHOTS, Records, Writer,
    gc::{Garbage, Graph, Kind, Node},
};
use davit_vocabulary::{Digest, Namespace};

use crate::{ImageError, Storage};

/// What a collection removed.
#[derive(Debug, Default)]
pub struct Collected {
    /// Blobs that a namespace lost.
    pub content: Vec<Digest>,
    /// Directories of snapshots.
    pub snapshots: Vec<u64>,
    changes: Vec<(Namespace, Change)>,
}

/// So many removals without a collection start one by themselves, as at containerd.
const THRESHOLD: u64 = 100;

/// Removals since the last collection.
#[derive(Default)]
pub(crate) struct Removals(AtomicU64);

impl Storage {
    /// Notes that something was removed which may have kept other things. Every now and then that starts a collection
    /// behind the caller's back.
    pub fn note_removal(&self) {
        if self.removals.0.fetch_add(1, Ordering::Relaxed) + 1 < THRESHOLD {
            return;
        }
        self.removals.0.store(0, Ordering::Relaxed);
        let storage = self.clone();
        thread::spawn(move || {
            if let Err(error) = storage.collect() {
                tracing::warn!(%error, "cannot collect what nothing needs");
            }
        });
    }

    /// Removes everything that no image, lease, container or label keeps.
    ///
    /// Marking and removing the records is one transaction, so that nothing can become needed in between; the files
    /// follow it, and a crash before they are gone leaves them to the next start.
    pub fn collect(&self) -> Result<Collected, ImageError> {
        let collected = self.database.write(|writer| {
            let garbage = Graph::read(writer, SystemTime::now())?.garbage();
            remove_records(writer, garbage)
        })?;
        self.content.remove_unknown(&collected.content)?;
        self.content.remove_forgotten_ingests()?;
        self.snapshots.remove_directories(&collected.snapshots);
        tracing::info!(
            blobs = collected.content.len(),
            snapshots = collected.snapshots.len(),
            "collected what nothing needs"
        );
        for (namespace, change) in &collected.changes {
            (self.listener)(namespace, change.clone());
        }
        Ok(collected)
    }
}

fn remove_records(writer: &Writer, garbage: Garbage) -> Result<Collected, ImageError> {
    let mut collected = Collected::default();
    for (namespace, id) in garbage.leases {
        writer.delete(&LEASES, &namespace, &id)?;
    }
    for node in garbage.nodes {
        if let Some(change) = remove(writer, &node, &mut collected)?
            && let Ok(namespace) = node.namespace.parse()
        {
            collected.changes.push((namespace, change));
        }
    }
    Ok(collected)
}

fn remove(writer: &Writer, node: &Node, collected: &mut Collected) -> Result<Option<Change>, ImageError> {
    let (namespace, key) = (node.namespace.as_str(), node.key.as_str());
    match node.kind {
        Kind::Container => Ok(None),
        Kind::Ingest => {
            writer.delete(&INGESTS, namespace, key)?;
            Ok(None)
        }
        Kind::Image => {
            writer.delete(&IMAGES, namespace, key)?;
            Ok(Some(Change::ImageDeleted { name: key.into() }))
        }
        Kind::Content => {
            writer.delete(&CONTENT, namespace, key)?;
            let Ok(digest) = key.parse::<Digest>() else {
                return Ok(None);
            };
            collected.content.push(digest.clone());
            Ok(Some(Change::ContentDeleted { digest }))
        }
        Kind::Snapshot => {
            let Some(key) = key.strip_prefix("overlayfs/") else {
                return Ok(None);
            };
            if let Some(record) = writer.get(&OVERLAY_SNAPSHOTS, namespace, key)? {
                collected.snapshots.push(record.id);
            }
            writer.delete(&OVERLAY_SNAPSHOTS, namespace, key)?;
            Ok(Some(Change::SnapshotRemoved {
                key: key.into(),
                snapshotter: davit_snapshots::NAME.into(),
            }))
        }
    }
}
