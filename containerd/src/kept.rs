//! Records of one kind, by namespace and id: what containers and sandboxes have in common.
//!
//! They hold what a client asked for. Nothing here knows whether anything of it runs.

use std::{borrow::Cow, marker::PhantomData, sync::Arc, time::SystemTime};

use davit_metadata::{
    Bucket, Database, Records, StoreError,
    filter::{Fields, Filters, non_empty},
};
use davit_vocabulary::{ContainerId, ErrorKind, InvalidIdentifier, Namespace};
use serde::{Serialize, de::DeserializeOwned};

/// Why a record cannot be read or written. The words are containerd's, since its clients read them.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No such record.
    #[error("{kind} {id}: not found")]
    NotFound {
        /// Of what.
        kind: &'static str,
        /// Its id, as the kind puts it.
        id: String,
    },
    /// A record of this id exists.
    #[error("{kind} {:?}: already exists", id.as_str())]
    Exists {
        /// Of what.
        kind: &'static str,
        /// Its id.
        id: ContainerId,
    },
    /// The id is none.
    #[error("{what}: {source}: invalid argument")]
    Id {
        /// What cannot be made.
        what: &'static str,
        /// What is wrong with the id.
        source: InvalidIdentifier,
    },
    /// The record lacks something, or has what it must not.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RecordError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::AlreadyExists,
            Self::Id { .. } | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Store(error) => error.kind(),
        }
    }
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    Create,
    /// It is changed.
    Update,
}

/// What is done with a record that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is read.
    Get,
    /// It is changed.
    Update,
    /// It is removed.
    Delete,
}

/// A kind of record.
pub trait Kind: Serialize + DeserializeOwned {
    /// Where records of this kind are.
    const BUCKET: Bucket<Self>;
    /// What they are of.
    const NAME: &'static str;
    /// What is said before what is wrong with an id.
    const REFUSED: &'static str;

    /// What filters see of it, but for its id.
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>>;

    /// How an id is named that is not there. The words of containerd differ by what was to be done.
    fn missing(_: Verb, id: &str, namespace: &Namespace) -> String {
        format!("{id:?} in namespace {:?}", namespace.as_str())
    }

    /// Checks it before it is stored, and leaves out what is not kept.
    fn check(&mut self, change: Change) -> Result<(), RecordError>;

    /// Notes when it was changed.
    fn changed_at(&mut self, now: SystemTime);
}

struct Filtered<'a, K>(&'a str, &'a K);

impl<K: Kind> Fields for Filtered<'_, K> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "id" => non_empty(self.0),
            _ => self.1.field(path),
        }
    }
}

/// The records of one kind, of all namespaces. Every call blocks on the disk.
pub struct Kept<K> {
    database: Arc<Database>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Kept<K> {
    fn clone(&self) -> Self {
        Self {
            database: self.database.clone(),
            kind: PhantomData,
        }
    }
}

impl<K: Kind> Kept<K> {
    /// The records in this store.
    pub fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            kind: PhantomData,
        }
    }

    /// One record.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<K, RecordError> {
        self.database.read(|view| find(view, namespace, id, Verb::Get))
    }

    /// The records that pass the filters, by id.
    pub fn list(&self, namespace: &Namespace, filters: &Filters) -> Result<Vec<(String, K)>, RecordError> {
        let mut records = self.database.read(|view| view.list(&K::BUCKET, namespace))?;
        records.retain(|(id, record)| filters.matches(&Filtered(id, record)));
        Ok(records)
    }

    /// Stores a new record.
    pub fn create(&self, namespace: &Namespace, id: &str, mut record: K) -> Result<K, RecordError> {
        let id: ContainerId = id.parse().map_err(|source| RecordError::Id {
            what: K::REFUSED,
            source,
        })?;
        record.check(Change::Create)?;
        self.database.write(|writer| {
            if writer.get(&K::BUCKET, namespace, &id)?.is_some() {
                return Err(RecordError::Exists { kind: K::NAME, id });
            }
            writer.put(&K::BUCKET, namespace, &id, &record)?;
            Ok(record)
        })
    }

    /// Changes a record by `change`, all or nothing.
    pub fn update<E: From<RecordError> + From<StoreError>>(
        &self,
        namespace: &Namespace,
        id: &str,
        change: impl FnOnce(&mut K) -> Result<(), E>,
    ) -> Result<K, E> {
        self.database.write(|writer| {
            let mut record = find::<K>(writer, namespace, id, Verb::Update)?;
            change(&mut record)?;
            record.check(Change::Update)?;
            record.changed_at(SystemTime::now());
            writer.put(&K::BUCKET, namespace, id, &record)?;
            Ok(record)
        })
    }

    /// Removes a record.
    pub fn delete(&self, namespace: &Namespace, id: &str) -> Result<(), RecordError> {
        self.database.write(|writer| {
            find::<K>(writer, namespace, id, Verb::Delete)?;
            writer.delete(&K::BUCKET, namespace, id)?;
            Ok(())
        })
    }
}

fn find<K: Kind>(view: &impl Records, namespace: &Namespace, id: &str, verb: Verb) -> Result<K, RecordError> {
    view.get(&K::BUCKET, namespace, id)?
        .ok_or_else(|| RecordError::NotFound {
            kind: K::NAME,
            id: K::missing(verb, &id.chars().take(200).collect::<String>(), namespace),
        })
}
