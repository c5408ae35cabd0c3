//! Namespaces: made explicitly, or by the first record in them; removed only when empty.

use crate::{
    Bucket, CONTAINERS, CONTENT, IMAGES, LEASES, Labels, NamespaceRecord, OVERLAY_SNAPSHOTS, Records, SANDBOXES,
    StoreError, Writer, check_labels,
};

const NAMESPACES: Bucket<NamespaceRecord> = Bucket::new("namespaces");

/// All namespaces and their labels, sorted by name.
pub fn list(view: &impl Records) -> Result<Vec<(String, Labels)>, StoreError> {
    let records = view.list_all(&NAMESPACES)?;
    Ok(records
        .into_iter()
        .map(|(name, _, record)| (name, record.labels))
        .collect())
}

/// The labels of one namespace.
pub fn labels(view: &impl Records, name: &str) -> Result<Labels, StoreError> {
    let record = view.get(&NAMESPACES, name, "")?;
    record
        .map(|record| record.labels)
        .ok_or_else(|| StoreError::NoNamespace(name.into()))
}

impl Writer {
    /// Makes a new namespace.
    pub fn create_namespace(&self, name: &str, labels: Labels) -> Result<(), StoreError> {
        check_labels("namespace", &labels)?;
        if self.get(&NAMESPACES, name, "")?.is_some() {
            return Err(StoreError::NamespaceExists(name.into()));
        }
        self.put(&NAMESPACES, name, "", &NamespaceRecord { labels })
    }

    /// Replaces the labels of a namespace.
    pub fn set_namespace_labels(&self, name: &str, labels: Labels) -> Result<(), StoreError> {
        check_labels("namespace", &labels)?;
        crate::namespaces::labels(self, name)?;
        self.put(&NAMESPACES, name, "", &NamespaceRecord { labels })
    }

    /// Removes an empty namespace, and with it its leases.
    pub fn delete_namespace(&self, name: &str) -> Result<(), StoreError> {
        labels(self, name)?;
        let mut holds = Vec::new();
        let mut note = |kind: &'static str, some: bool| {
            if some {
                holds.push(kind);
            }
        };
        note("images", !self.list(&IMAGES, name)?.is_empty());
        note("blobs", !self.list(&CONTENT, name)?.is_empty());
        note("containers", !self.list(&CONTAINERS, name)?.is_empty());
        note("sandboxes", !self.list(&SANDBOXES, name)?.is_empty());
        note(
            "snapshots on \"overlayfs\" snapshotter",
            !self.list(&OVERLAY_SNAPSHOTS, name)?.is_empty(),
        );
        if !holds.is_empty() {
            return Err(StoreError::NamespaceInUse {
                namespace: name.into(),
                holds: holds.join(", "),
            });
        }
        for (id, _) in self.list(&LEASES, name)? {
            self.delete(&LEASES, name, &id)?;
        }
        self.delete(&NAMESPACES, name, "").map(drop)
    }

    /// Makes a namespace exist without touching the labels it may have.
    pub(crate) fn ensure_namespace(&self, name: &str) -> Result<(), StoreError> {
        if self.get(&NAMESPACES, name, "")?.is_some() {
            return Ok(());
        }
        self.put_unchecked(&NAMESPACES, name, "", &NamespaceRecord::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Database, LeaseRecord};

    fn database() -> (tempfile::TempDir, Database) {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("meta.db")).unwrap();
        (dir, database)
    }

    #[test]
    fn a_namespace_begins_with_its_first_record() {
        let (_dir, database) = database();
        database
            .write(|w| w.put(&LEASES, "web", "l", &LeaseRecord::default()))
            .unwrap();
        let names = database.read(list).unwrap();
        assert_eq!(names, [("web".to_owned(), Labels::new())]);
    }

    #[test]
    fn only_an_empty_namespace_can_be_removed() {
        let (_dir, database) = database();
        database.write(|w| w.create_namespace("web", Labels::new())).unwrap();
        let record = crate::ContentRecord::new(3);
        database.write(|w| w.put(&CONTENT, "web", "sha256:1", &record)).unwrap();
        let refused = database.write(|w| w.delete_namespace("web")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "namespace \"web\" must be empty, but it still has blobs: failed precondition"
        );
        database.write(|w| w.delete(&CONTENT, "web", "sha256:1")).unwrap();
        database.write(|w| w.delete_namespace("web")).unwrap();
        assert!(matches!(
            database.write(|w| w.delete_namespace("web")),
            Err(StoreError::NoNamespace(_))
        ));
    }
}
