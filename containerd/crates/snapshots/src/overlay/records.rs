//! The rules of the records: keys, kinds and parents.

use std::time::SystemTime;

use davit_metadata::{
    Labels, OVERLAY_SNAPSHOTS as SNAPSHOTS, Records, Scope, SnapshotKind, SnapshotRecord, StoreError, Writer,
    check_labels,
};

use crate::{Preparation, SnapshotError};

/// The label of a preparation that names the committed snapshot it is for.
const TARGET_LABEL: &str = "containerd.io/snapshot.ref";
/// Labels that ask for another owner of the files.
const UNSUPPORTED: [&str; 2] = ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];
const LAST_ID: &str = "snapshot-id";

/// The last number that was given to a directory.
pub(super) fn last_id(writer: &Writer) -> Result<u64, StoreError> {
    writer.number(LAST_ID)
}

/// Refuses keys and labels that no snapshot may have.
pub(super) fn check(key: &str, labels: &Labels) -> Result<(), SnapshotError> {
    if key.is_empty() {
        return Err(SnapshotError::EmptyKey);
    }
    if let Some(label) = UNSUPPORTED.into_iter().find(|label| labels.contains_key(*label)) {
        return Err(SnapshotError::UnsupportedLabel(label.into()));
    }
    Ok(check_labels("info", labels)?)
}

pub(super) fn get(view: &impl Records, scope: &Scope, key: &str) -> Result<SnapshotRecord, SnapshotError> {
    view.get(&SNAPSHOTS, &scope.namespace, key)?
        .ok_or_else(|| SnapshotError::NotFound(key.into()))
}

pub(super) fn active(view: &impl Records, scope: &Scope, key: &str) -> Result<SnapshotRecord, SnapshotError> {
    let record = get(view, scope, key)?;
    if record.kind != SnapshotKind::Active {
        return Err(SnapshotError::NotActive(key.into()));
    }
    Ok(record)
}

/// The snapshot that makes a preparation impossible or needless, and the refusal.
pub(super) fn taken(
    view: &impl Records,
    scope: &Scope,
    wanted: &Preparation,
) -> Result<Option<(String, SnapshotError)>, SnapshotError> {
    if let Some(target) = wanted.labels.get(TARGET_LABEL)
        && view.get(&SNAPSHOTS, &scope.namespace, target)?.is_some()
    {
        return Ok(Some((target.clone(), SnapshotError::TargetExists(target.clone()))));
    }
    if view.get(&SNAPSHOTS, &scope.namespace, &wanted.key)?.is_some() {
        return Ok(Some((wanted.key.clone(), SnapshotError::Exists(wanted.key.clone()))));
    }
    Ok(None)
}

/// The numbers of what a new snapshot will lie on, the nearest first.
pub(super) fn parents_of_new(
    view: &impl Records,
    scope: &Scope,
    wanted: &Preparation,
) -> Result<Vec<u64>, SnapshotError> {
    let parent = (!wanted.parent.is_empty()).then_some(wanted.parent.as_str());
    committed_parent(view, scope, parent)?;
    parents(view, scope, parent)
}

/// The numbers of a snapshot and all below it, the nearest first.
pub(super) fn parents(view: &impl Records, scope: &Scope, parent: Option<&str>) -> Result<Vec<u64>, SnapshotError> {
    let mut ids = Vec::new();
    let mut next = parent.map(str::to_owned);
    while let Some(key) = next {
        let record = view
            .get(&SNAPSHOTS, &scope.namespace, &key)?
            .ok_or(SnapshotError::NoParent(key))?;
        ids.push(record.id);
        next = record.parent;
    }
    Ok(ids)
}

/// Stores a new active snapshot or view.
pub(super) fn insert(
    writer: &Writer,
    scope: &Scope,
    kind: SnapshotKind,
    id: u64,
    wanted: &Preparation,
) -> Result<(), SnapshotError> {
    let now = SystemTime::now();
    let record = SnapshotRecord {
        id,
        kind,
        parent: (!wanted.parent.is_empty()).then(|| wanted.parent.clone()),
        labels: wanted.labels.clone(),
        created_at: now,
        updated_at: now,
        usage: None,
    };
    let last = writer.number(LAST_ID)?;
    writer.set_number(LAST_ID, last.max(id))?;
    Ok(writer.put(&SNAPSHOTS, &scope.namespace, &wanted.key, &record)?)
}

/// The record that an active snapshot has once it is committed. Labels are replaced, not inherited.
pub(super) fn committed(
    view: &impl Records,
    scope: &Scope,
    key: &str,
    active: SnapshotRecord,
    parent: &str,
    labels: Labels,
) -> Result<SnapshotRecord, SnapshotError> {
    let parent = match active.parent {
        Some(current) if parent.is_empty() || parent == current => Some(current),
        Some(_) => return Err(SnapshotError::ParentChanged(key.into())),
        None => (!parent.is_empty()).then(|| parent.to_owned()),
    };
    committed_parent(view, scope, parent.as_deref())?;
    let now = SystemTime::now();
    Ok(SnapshotRecord {
        id: active.id,
        kind: SnapshotKind::Committed,
        parent,
        labels,
        created_at: now,
        updated_at: now,
        usage: None,
    })
}

fn committed_parent(view: &impl Records, scope: &Scope, parent: Option<&str>) -> Result<(), SnapshotError> {
    let Some(parent) = parent else { return Ok(()) };
    let record = view.get(&SNAPSHOTS, &scope.namespace, parent)?;
    match record.ok_or_else(|| SnapshotError::NoParent(parent.into()))?.kind {
        SnapshotKind::Committed => Ok(()),
        SnapshotKind::View | SnapshotKind::Active => Err(SnapshotError::ParentNotCommitted(parent.into())),
    }
}
