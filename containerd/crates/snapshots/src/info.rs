use std::{borrow::Cow, time::SystemTime};

use davit_metadata::{
    Labels, SnapshotKind, SnapshotRecord,
    filter::{Fields, label},
};

/// A snapshot as its clients see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its key, or its name once committed.
    pub key: String,
    /// The name of its parent; empty where it has none.
    pub parent: String,
    /// What it is.
    pub kind: SnapshotKind,
    /// Its labels.
    pub labels: Labels,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

impl Info {
    pub(crate) fn new(key: String, record: SnapshotRecord) -> Self {
        Self {
            key,
            parent: record.parent.unwrap_or_default(),
            kind: record.kind,
            labels: record.labels,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Fields for Info {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path[0].as_str() {
            "kind" => Some(Cow::Borrowed(match self.kind {
                SnapshotKind::View => "view",
                SnapshotKind::Active => "active",
                SnapshotKind::Committed => "committed",
            })),
            "name" => Some(Cow::Borrowed(&self.key)),
            "parent" => Some(Cow::Borrowed(&self.parent)),
            "labels" => label(&self.labels, &path[1..]),
            _ => None,
        }
    }
}
