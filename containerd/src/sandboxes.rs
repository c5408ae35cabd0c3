//! Sandbox records: what a client told of groups of containers. Nothing here knows whether anything of them runs.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use davit_metadata::{
    Database, Records, SANDBOXES, SandboxRecord, StoreError, check_labels,
    filter::{Fields, Filters, label, non_empty},
};
use davit_vocabulary::{ContainerId, ErrorKind, InvalidIdentifier, Namespace};

/// What an update changes where it names nothing.
const ALL_FIELDS: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No such sandbox.
    #[error("sandbox {id:?} in namespace {:?}: not found", namespace.as_str())]
    NotFound {
        /// The sandbox.
        id: String,
        /// The namespace looked in.
        namespace: Namespace,
    },
    /// A sandbox of this id exists.
    #[error("sandbox {:?}: already exists", .0.as_str())]
    Exists(ContainerId),
    /// The id is none.
    #[error("failed to validate sandbox: invalid sandbox ID: {0}: invalid argument")]
    Id(#[from] InvalidIdentifier),
    /// What was asked for cannot be.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SandboxError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::Id(_) | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Store(error) => error.kind(),
        }
    }
}

/// A sandbox as filters see it.
struct Filtered<'a>(&'a str, &'a SandboxRecord);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "id" => non_empty(self.0),
            "labels" => label(&self.1.labels, rest),
            _ => None,
        }
    }
}

/// The records of all namespaces. Every call blocks on the disk.
#[derive(Clone)]
pub struct Sandboxes {
    database: Arc<Database>,
}

impl Sandboxes {
    /// The records in this store.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// One record.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<SandboxRecord, SandboxError> {
        self.database.read(|view| find(view, namespace, id))
    }

    /// The records that pass the filters, by id.
    pub fn list(&self, namespace: &Namespace, filters: &Filters) -> Result<Vec<(String, SandboxRecord)>, SandboxError> {
        let mut records = self.database.read(|view| view.list(&SANDBOXES, namespace))?;
        records.retain(|(id, record)| filters.matches(&Filtered(id, record)));
        Ok(records)
    }

    /// Stores a new record.
    pub fn create(
        &self,
        namespace: &Namespace,
        id: &str,
        record: SandboxRecord,
    ) -> Result<SandboxRecord, SandboxError> {
        let id: ContainerId = id.parse()?;
        check_labels("sandbox", &record.labels)?;
        self.database.write(|writer| {
            if writer.get(&SANDBOXES, namespace, &id)?.is_some() {
                return Err(SandboxError::Exists(id));
            }
            writer.put(&SANDBOXES, namespace, &id, &record)?;
            Ok(record)
        })
    }

    /// Changes the fields of a record that `paths` name, or all that can change; all of it or nothing.
    pub fn update(
        &self,
        namespace: &Namespace,
        id: &str,
        given: &SandboxRecord,
        paths: &[String],
    ) -> Result<SandboxRecord, SandboxError> {
        self.database.write(|writer| {
            let mut record = find(writer, namespace, id)?;
            apply(&mut record, given, id, paths)?;
            check_labels("sandbox", &record.labels)?;
            record.updated_at = SystemTime::now();
            writer.put(&SANDBOXES, namespace, id, &record)?;
            Ok(record)
        })
    }

    /// Removes a record.
    pub fn delete(&self, namespace: &Namespace, id: &str) -> Result<(), SandboxError> {
        self.database.write(|writer| {
            find(writer, namespace, id)?;
            writer.delete(&SANDBOXES, namespace, id)?;
            Ok(())
        })
    }
}

fn find(view: &impl Records, namespace: &Namespace, id: &str) -> Result<SandboxRecord, SandboxError> {
    view.get(&SANDBOXES, namespace, id)?
        .ok_or_else(|| SandboxError::NotFound {
            id: id.chars().take(200).collect(),
            namespace: namespace.clone(),
        })
}

fn apply(record: &mut SandboxRecord, given: &SandboxRecord, id: &str, paths: &[String]) -> Result<(), SandboxError> {
    if !paths.is_empty() {
        return paths.iter().try_for_each(|path| apply_path(record, given, id, path));
    }
    if record.runtime.name != given.runtime.name {
        return Err(SandboxError::Invalid("sandbox.Runtime.Name field is immutable".into()));
    }
    ALL_FIELDS
        .iter()
        .try_for_each(|path| apply_path(record, given, id, path))
}

fn apply_path(record: &mut SandboxRecord, given: &SandboxRecord, id: &str, path: &str) -> Result<(), SandboxError> {
    match (path, path.split_once('.')) {
        ("labels", _) => record.labels.clone_from(&given.labels),
        ("extensions", _) => record.extensions.clone_from(&given.extensions),
        ("spec", _) => record.spec.clone_from(&given.spec),
        ("runtime", _) => record.runtime.clone_from(&given.runtime),
        (_, Some(("labels", key))) => {
            let value = given.labels.get(key).cloned().unwrap_or_default();
            record.labels.insert(key.into(), value);
        }
        (_, Some(("extensions", key))) => {
            let value = given.extensions.get(key).cloned().unwrap_or_default();
            record.extensions.insert(key.into(), value);
        }
        _ => {
            let text = format!("cannot update {path:?} field on sandbox {id:?}");
            return Err(SandboxError::Invalid(text));
        }
    }
    Ok(())
}
