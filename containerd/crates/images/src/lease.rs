use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use davit_metadata::{
    Database, LEASES, Labels, LeaseRecord, Records, Scope, check_labels,
    filter::{Fields, label, non_empty},
};
use davit_vocabulary::Digest;

pub use davit_metadata::Resource;

use crate::ImageError;

/// A lease as its clients see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// Labels.
    pub labels: Labels,
    /// When it was made.
    pub created_at: SystemTime,
}

/// Leases: they keep what they hold from being collected. Clones share one store.
#[derive(Clone)]
pub struct LeaseStore {
    database: Arc<Database>,
}

impl LeaseStore {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Makes a lease; one with an empty id gets a new one.
    pub fn create(&self, scope: &Scope, id: &str, labels: Labels) -> Result<Lease, ImageError> {
        check_labels("lease", &labels)?;
        let id = if id.is_empty() { new_id() } else { id.to_owned() };
        let record = LeaseRecord {
            labels,
            ..LeaseRecord::default()
        };
        self.database.write(|writer| {
            if writer.get(&LEASES, &scope.namespace, &id)?.is_some() {
                return Err(ImageError::LeaseExists(id.clone()));
            }
            Ok(writer.put(&LEASES, &scope.namespace, &id, &record)?)
        })?;
        Ok(Lease::new(id, record))
    }

    /// Ends a lease. What it alone held goes with the next collection.
    pub fn delete(&self, scope: &Scope, id: &str) -> Result<(), ImageError> {
        self.database
            .write(|writer| match writer.delete(&LEASES, &scope.namespace, id)? {
                true => Ok(()),
                false => Err(ImageError::NoLease(id.into())),
            })
    }

    /// All leases of the namespace, sorted by id.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Lease>, ImageError> {
        let records = self.database.read(|view| view.list(&LEASES, &scope.namespace))?;
        Ok(records.into_iter().map(|(id, record)| Lease::new(id, record)).collect())
    }

    /// Puts something under a lease. It need not exist yet.
    pub fn add(&self, scope: &Scope, id: &str, resource: Resource) -> Result<(), ImageError> {
        self.change(scope, id, |record| {
            check_resource(&resource)?;
            Ok(record.resources.insert(resource))
        })
    }

    /// Takes something from a lease; nothing happens where it is not under it.
    pub fn remove(&self, scope: &Scope, id: &str, resource: &Resource) -> Result<(), ImageError> {
        self.change(scope, id, |record| {
            check_resource(resource)?;
            Ok(record.resources.remove(resource))
        })
    }

    /// What a lease holds.
    pub fn resources(&self, scope: &Scope, id: &str) -> Result<Vec<Resource>, ImageError> {
        let record = self.database.read(|view| view.get(&LEASES, &scope.namespace, id))?;
        let record = record.ok_or_else(|| ImageError::NoLease(id.into()))?;
        Ok(record.resources.into_iter().collect())
    }

    fn change(
        &self,
        scope: &Scope,
        id: &str,
        change: impl FnOnce(&mut LeaseRecord) -> Result<bool, ImageError>,
    ) -> Result<(), ImageError> {
        self.database.write(|writer| {
            let record = writer.get(&LEASES, &scope.namespace, id)?;
            let mut record = record.ok_or_else(|| ImageError::NoLease(id.into()))?;
            if change(&mut record)? {
                writer.put(&LEASES, &scope.namespace, id, &record)?;
            }
            Ok(())
        })
    }
}

impl Lease {
    fn new(id: String, record: LeaseRecord) -> Self {
        Self {
            id,
            labels: record.labels,
            created_at: record.created_at,
        }
    }
}

impl Fields for Lease {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path[0].as_str() {
            "id" => non_empty(&self.id),
            "labels" => label(&self.labels, &path[1..]),
            _ => None,
        }
    }
}

/// Refuses what no lease can hold, in containerd's words.
fn check_resource(Resource { kind, id }: &Resource) -> Result<(), ImageError> {
    let invalid = |text: String| Err(ImageError::Invalid(text));
    match kind.split_once('/') {
        None if kind == "content" => match id.parse::<Digest>() {
            Ok(_) => Ok(()),
            Err(error) => invalid(format!("invalid content resource id {id}: {}", error.reason())),
        },
        None if kind == "ingests" || kind == "images" => match id.is_empty() {
            false => Ok(()),
            true => invalid(format!("invalid {kind} resource id {id:?}")),
        },
        None if kind == "snapshots" => invalid(format!("invalid snapshot resource type {kind}")),
        Some(("snapshots", snapshotter)) => {
            match snapshotter.is_empty() || snapshotter.contains('/') || id.is_empty() {
                false => Ok(()),
                true => invalid(format!("invalid snapshot resource type {kind} or id {id:?}")),
            }
        }
        Some(("content" | "ingests" | "images", _)) => invalid(format!("invalid resource type {kind}")),
        _ => Err(ImageError::Unsupported(format!(
            "resource type {kind} not supported yet"
        ))),
    }
}

/// An id that no lease of this or an earlier process has: the time of now and a number.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}-{}", now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}
