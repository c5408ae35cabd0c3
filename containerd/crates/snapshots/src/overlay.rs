//! The overlayfs snapshotter.

mod folders;
mod records;
mod removal;

use std::{path::Path, sync::Arc, time::SystemTime};

use davit_metadata::{
    Change, Database, LabelChange, Labels, Listener, NotALabel, OVERLAY_SNAPSHOTS as SNAPSHOTS, Records, Resource,
    Scope, SnapshotKind, SnapshotUsage, check_labels,
};

use crate::{Info, Mount, SnapshotError, error::file, usage::usage};

use folders::Folders;

/// The name of this snapshotter.
pub const NAME: &str = "overlayfs";

/// The overlayfs snapshotter. Clones share one.
#[derive(Clone)]
pub struct Overlay {
    shared: Arc<Shared>,
}

struct Shared {
    database: Arc<Database>,
    listener: Listener,
    folders: Folders,
}

/// What a new snapshot is to be.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Its key.
    pub key: String,
    /// The committed snapshot below it; empty for none.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
}

impl Overlay {
    /// Opens the snapshotter under `root` and removes directories that no record names.
    pub fn open(root: &Path, database: Arc<Database>, listener: Listener) -> Result<Self, SnapshotError> {
        let last_id = database.write(records::last_id)?;
        let overlay = Self {
            shared: Arc::new(Shared {
                folders: Folders::open(root, last_id)?,
                database,
                listener,
            }),
        };
        overlay.cleanup()?;
        Ok(overlay)
    }

    /// Makes an active snapshot, writable.
    pub fn prepare(&self, scope: &Scope, wanted: Preparation) -> Result<Vec<Mount>, SnapshotError> {
        let change = Change::SnapshotPrepared {
            key: wanted.key.clone(),
            parent: wanted.parent.clone(),
            snapshotter: NAME.into(),
        };
        let mounts = self.create(scope, SnapshotKind::Active, wanted)?;
        (self.shared.listener)(&scope.namespace, change);
        Ok(mounts)
    }

    /// Makes a view, read-only.
    pub fn view(&self, scope: &Scope, wanted: Preparation) -> Result<Vec<Mount>, SnapshotError> {
        self.create(scope, SnapshotKind::View, wanted)
    }

    /// The mounts of an active snapshot or a view.
    pub fn mounts(&self, scope: &Scope, key: &str) -> Result<Vec<Mount>, SnapshotError> {
        self.shared.database.read(|view| {
            let record = records::get(view, scope, key)?;
            if record.kind == SnapshotKind::Committed {
                return Err(SnapshotError::Committed(key.into()));
            }
            let parents = records::parents(view, scope, record.parent.as_deref())?;
            Ok(self.shared.folders.mounts(record.kind, record.id, &parents))
        })
    }

    /// Turns the active snapshot `key` into the committed snapshot `name`, durably.
    ///
    /// `parent` may give a snapshot that was prepared without one its place in a chain; else it is empty.
    pub fn commit(
        &self,
        scope: &Scope,
        key: &str,
        name: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<(), SnapshotError> {
        records::check(name, &labels)?;
        self.shared.database.read(|view| records::active(view, scope, key))?;
        self.shared.folders.sync()?;
        let outcome = self.shared.database.write(|writer| {
            if writer.get(&SNAPSHOTS, &scope.namespace, name)?.is_some() {
                scope.hold(writer, Resource::snapshot(NAME, name))?;
                return Ok(Err(SnapshotError::Exists(name.into())));
            }
            let record = records::active(writer, scope, key)?;
            let record = records::committed(writer, scope, key, record, parent, labels)?;
            writer.delete(&SNAPSHOTS, &scope.namespace, key)?;
            writer.put(&SNAPSHOTS, &scope.namespace, name, &record)?;
            scope.release(writer, &Resource::snapshot(NAME, key))?;
            scope.hold(writer, Resource::snapshot(NAME, name))?;
            Ok::<_, SnapshotError>(Ok(()))
        })?;
        outcome?;
        let change = Change::SnapshotCommitted {
            key: key.into(),
            name: name.into(),
            snapshotter: NAME.into(),
        };
        (self.shared.listener)(&scope.namespace, change);
        Ok(())
    }

    /// Takes a snapshot away that has no children.
    pub fn remove(&self, scope: &Scope, key: &str) -> Result<(), SnapshotError> {
        let id = self.shared.database.write(|writer| {
            let record = records::get(writer, scope, key)?;
            let all = writer.list(&SNAPSHOTS, &scope.namespace)?;
            if all.iter().any(|(_, other)| other.parent.as_deref() == Some(key)) {
                return Err(SnapshotError::HasChild);
            }
            writer.delete(&SNAPSHOTS, &scope.namespace, key)?;
            scope.release(writer, &Resource::snapshot(NAME, key))?;
            Ok(record.id)
        })?;
        self.shared.folders.remove(id);
        let change = Change::SnapshotRemoved {
            key: key.into(),
            snapshotter: NAME.into(),
        };
        (self.shared.listener)(&scope.namespace, change);
        Ok(())
    }

    /// What a snapshot is.
    pub fn stat(&self, scope: &Scope, key: &str) -> Result<Info, SnapshotError> {
        let record = self.shared.database.read(|view| records::get(view, scope, key))?;
        Ok(Info::new(key.into(), record))
    }

    /// All snapshots of the namespace, sorted by key.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Info>, SnapshotError> {
        let records = self
            .shared
            .database
            .read(|view| view.list(&SNAPSHOTS, &scope.namespace))?;
        Ok(records
            .into_iter()
            .map(|(key, record)| Info::new(key, record))
            .collect())
    }

    /// Changes labels: those that `paths` name, or all where it is empty.
    pub fn update(&self, scope: &Scope, key: &str, paths: &[String], labels: Labels) -> Result<Info, SnapshotError> {
        check_labels("info", &labels)?;
        let changes = LabelChange::from_mask(paths, labels)
            .map_err(|NotALabel(field)| SnapshotError::Immutable { field, key: key.into() })?;
        self.shared.database.write(|writer| {
            let mut record = records::get(writer, scope, key)?;
            LabelChange::apply(changes, &mut record.labels);
            record.updated_at = SystemTime::now();
            writer.put(&SNAPSHOTS, &scope.namespace, key, &record)?;
            Ok(Info::new(key.into(), record))
        })
    }

    /// The disk usage of a snapshot without its parents. A committed one is counted once and remembered.
    pub fn usage(&self, scope: &Scope, key: &str) -> Result<SnapshotUsage, SnapshotError> {
        let record = self.shared.database.read(|view| records::get(view, scope, key))?;
        if let Some(known) = record.usage {
            return Ok(known);
        }
        if record.kind == SnapshotKind::View {
            return Ok(SnapshotUsage::default());
        }
        let folder = self.shared.folders.upper(record.id);
        let found = usage(&folder).map_err(file("count", &folder))?;
        if record.kind == SnapshotKind::Committed {
            self.shared.database.write(|writer| {
                let Some(mut now) = writer.get(&SNAPSHOTS, &scope.namespace, key)? else {
                    return Ok(());
                };
                now.usage = (now.id == record.id).then_some(found);
                writer.put(&SNAPSHOTS, &scope.namespace, key, &now)
            })?;
        }
        Ok(found)
    }

    /// Removes directories that no record of any namespace names.
    pub fn cleanup(&self) -> Result<(), SnapshotError> {
        // In this order a directory that is being made is either still marked so, or has its record.
        let found = self.shared.folders.finished()?;
        let records = self.shared.database.read(|view| view.list_all(&SNAPSHOTS))?;
        for id in found {
            if !records.iter().any(|(_, _, record)| record.id == id) {
                tracing::info!(id, "removing a snapshot directory that no record names");
                self.shared.folders.remove(id);
            }
        }
        Ok(())
    }

    /// Removes the directories of snapshots whose records a collection has removed.
    pub fn remove_directories(&self, ids: &[u64]) {
        ids.iter().for_each(|id| self.shared.folders.remove(*id));
    }

    /// Makes everything that was written to snapshots durable.
    pub fn sync(&self) -> Result<(), SnapshotError> {
        self.shared.folders.sync()
    }

    fn create(&self, scope: &Scope, kind: SnapshotKind, wanted: Preparation) -> Result<Vec<Mount>, SnapshotError> {
        records::check(&wanted.key, &wanted.labels)?;
        // A first look spares the directory where the answer is already clear; the transaction looks again.
        let parents = self
            .shared
            .database
            .read(|view| records::parents_of_new(view, scope, &wanted))?;
        if self
            .shared
            .database
            .read(|view| records::taken(view, scope, &wanted))?
            .is_some()
        {
            return self.record(scope, kind, 0, &wanted).map(|_| Vec::new());
        }
        let folder = self.shared.folders.make(kind, parents.first().copied())?;
        let parents = self.record(scope, kind, folder.id(), &wanted)?;
        let id = folder.keep();
        Ok(self.shared.folders.mounts(kind, id, &parents))
    }

    /// Notes a new snapshot whose directory is made; the numbers of its parents come back.
    fn record(
        &self,
        scope: &Scope,
        kind: SnapshotKind,
        id: u64,
        wanted: &Preparation,
    ) -> Result<Vec<u64>, SnapshotError> {
        // What is there already is put under the caller's lease, and that must be stored although the call fails.
        self.shared.database.write(|writer| {
            if let Some((key, error)) = records::taken(writer, scope, wanted)? {
                scope.hold(writer, Resource::snapshot(NAME, &key))?;
                return Ok::<_, SnapshotError>(Err(error));
            }
            let parents = records::parents_of_new(writer, scope, wanted)?;
            records::insert(writer, scope, kind, id, wanted)?;
            scope.hold(writer, Resource::snapshot(NAME, &wanted.key))?;
            Ok(Ok(parents))
        })?
    }
}

#[cfg(test)]
mod tests;
