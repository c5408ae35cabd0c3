//! Container records: what a client asked for. Nothing here knows whether anything runs.

use std::{sync::Arc, time::SystemTime};

use davit_containerd_api::events::ContainerUpdate;
use davit_metadata::{
    CONTAINERS, ContainerRecord, Database, Records, StoreError, check_labels,
    filter::{Fields, Filters, label, non_empty},
};
use davit_vocabulary::{ContainerId, ErrorKind, InvalidIdentifier, Namespace};

pub(crate) mod task;

/// Why a record cannot be read or written. The words are containerd's, since its clients read them.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No such container.
    #[error("container {}: not found", verb.words(id, namespace))]
    NotFound {
        /// What was to be done with it.
        verb: Verb,
        /// The container.
        id: String,
        /// The namespace looked in.
        namespace: Namespace,
    },
    /// A container of this id exists.
    #[error("container {:?}: already exists", .0.as_str())]
    Exists(ContainerId),
    /// The id is none.
    #[error("create container failed validation: container.ID: {0}: invalid argument")]
    Id(#[from] InvalidIdentifier),
    /// The record lacks something, or has what it must not.
    #[error("{0}: invalid argument")]
    Invalid(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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

impl Verb {
    fn words(self, id: &str, namespace: &Namespace) -> String {
        match self {
            Self::Get => format!("{id:?} in namespace {:?}", namespace.as_str()),
            Self::Update => format!("{id:?}"),
            Self::Delete => id.to_owned(),
        }
    }
}

impl ContainerError {
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

/// The event of a record's change.
pub(crate) fn updated(id: String, record: &ContainerRecord) -> ContainerUpdate {
    ContainerUpdate {
        id,
        image: record.image.clone(),
        labels: record.labels.clone().into_iter().collect(),
        snapshot_key: record.snapshot_key.clone(),
    }
}

/// A container as filters see it.
struct Filtered<'a>(&'a str, &'a ContainerRecord);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[String]) -> Option<std::borrow::Cow<'_, str>> {
        let Self(id, record) = self;
        let (first, rest) = path.split_first()?;
        match (first.as_str(), rest) {
            ("id", _) => non_empty(id),
            ("image", _) => non_empty(&record.image),
            ("runtime", [name, ..]) if name == "name" => non_empty(&record.runtime.name),
            ("labels", rest) => label(&record.labels, rest),
            _ => None,
        }
    }
}

/// The records of all namespaces. Every call blocks on the disk.
#[derive(Clone)]
pub struct Containers {
    database: Arc<Database>,
}

impl Containers {
    /// The records in this store.
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// One record.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<ContainerRecord, ContainerError> {
        self.database.read(|view| find(view, namespace, id, Verb::Get))
    }

    /// The records that pass the filters, by id.
    pub fn list(
        &self,
        namespace: &Namespace,
        filters: &Filters,
    ) -> Result<Vec<(String, ContainerRecord)>, ContainerError> {
        let mut records = self.database.read(|view| view.list(&CONTAINERS, namespace))?;
        records.retain(|(id, record)| filters.matches(&Filtered(id, record)));
        Ok(records)
    }

    /// Stores a new record.
    pub fn create(
        &self,
        namespace: &Namespace,
        id: &str,
        mut record: ContainerRecord,
    ) -> Result<ContainerRecord, ContainerError> {
        let id: ContainerId = id.parse()?;
        validate(&mut record).map_err(|error| in_words("create container failed validation", error))?;
        self.database.write(|writer| {
            if writer.get(&CONTAINERS, namespace, &id)?.is_some() {
                return Err(ContainerError::Exists(id));
            }
            writer.put(&CONTAINERS, namespace, &id, &record)?;
            Ok(record)
        })
    }

    /// Changes a record by `change`, all or nothing.
    pub fn update<E: From<ContainerError> + From<StoreError>>(
        &self,
        namespace: &Namespace,
        id: &str,
        change: impl FnOnce(&mut ContainerRecord) -> Result<(), E>,
    ) -> Result<ContainerRecord, E> {
        self.database.write(|writer| {
            let mut record = find(writer, namespace, id, Verb::Update)?;
            change(&mut record)?;
            validate(&mut record).map_err(|error| in_words("update failed validation", error))?;
            record.updated_at = SystemTime::now();
            writer.put(&CONTAINERS, namespace, id, &record)?;
            Ok(record)
        })
    }

    /// Removes a record.
    pub fn delete(&self, namespace: &Namespace, id: &str) -> Result<(), ContainerError> {
        self.database.write(|writer| {
            find(writer, namespace, id, Verb::Delete)?;
            writer.delete(&CONTAINERS, namespace, id)?;
            Ok(())
        })
    }
}

fn find(view: &impl Records, namespace: &Namespace, id: &str, verb: Verb) -> Result<ContainerRecord, ContainerError> {
    view.get(&CONTAINERS, namespace, id)?
        .ok_or_else(|| ContainerError::NotFound {
            verb,
            id: id.chars().take(200).collect(),
            namespace: namespace.clone(),
        })
}

fn validate(record: &mut ContainerRecord) -> Result<(), ContainerError> {
    let invalid = |text: &str| Err(ContainerError::Invalid(text.into()));
    record.labels.retain(|_, value| !value.is_empty());
    check_labels("containers", &record.labels)?;
    if record.extensions.contains_key("") {
        return invalid("container.Extension keys must not be zero-length");
    }
    if record.runtime.name.is_empty() {
        return invalid("container.Runtime.Name must be set");
    }
    if !record.snapshot_key.is_empty() && record.snapshotter.is_empty() {
        return invalid("container.Snapshotter must be set if container.SnapshotKey is set");
    }
    Ok(())
}

fn in_words(what: &str, error: ContainerError) -> ContainerError {
    match error {
        ContainerError::Invalid(text) => ContainerError::Invalid(format!("{what}: {text}")),
        // It says itself what kind of error it is.
        ContainerError::Store(error @ StoreError::LabelTooLong { .. }) => {
            let text = error.to_string();
            ContainerError::Invalid(format!("{what}: {}", text.trim_end_matches(": invalid argument")))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use davit_metadata::{AnyRecord, RuntimeRecord};

    use super::*;

    fn record() -> ContainerRecord {
        ContainerRecord {
            labels: [("a".into(), "1".into()), ("empty".into(), String::new())].into(),
            image: "i".into(),
            runtime: RuntimeRecord {
                name: "io.containerd.davit.v1".into(),
                options: None,
            },
            spec: Some(AnyRecord::default()),
            snapshotter: String::new(),
            snapshot_key: String::new(),
            created_at: SystemTime::now(),
            updated_at: SystemTime::now(),
            extensions: Default::default(),
            sandbox: String::new(),
        }
    }

    fn store() -> (tempfile::TempDir, Containers, Namespace) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("meta.db")).unwrap();
        (folder, Containers::new(database.into()), "n".parse().unwrap())
    }

    #[test]
    fn a_container_is_made_once_and_found_in_its_namespace_alone() {
        let (_folder, containers, namespace) = store();
        containers.create(&namespace, "c", record()).unwrap();
        let again = containers.create(&namespace, "c", record()).unwrap_err();
        assert_eq!(again.to_string(), "container \"c\": already exists");
        let elsewhere = containers.get(&"m".parse().unwrap(), "c").unwrap_err();
        assert_eq!(elsewhere.to_string(), "container \"c\" in namespace \"m\": not found");
        containers.delete(&namespace, "c").unwrap();
        assert_eq!(
            containers.delete(&namespace, "c").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }

    #[test]
    fn an_id_that_is_a_path_or_a_record_without_a_runtime_is_refused() {
        let (_folder, containers, namespace) = store();
        for id in ["", "../x", "a/b", ".."] {
            let refused = containers.create(&namespace, id, record()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{id}");
        }
        let mut nameless = record();
        nameless.runtime.name.clear();
        let refused = containers.create(&namespace, "c", nameless).unwrap_err();
        assert!(refused.to_string().contains("Runtime.Name must be set"), "{refused}");
        assert!(containers.list(&namespace, &Filters::default()).unwrap().is_empty());
    }

    #[test]
    fn a_label_with_an_empty_value_is_no_label() {
        let (_folder, containers, namespace) = store();
        let made = containers.create(&namespace, "c", record()).unwrap();
        assert_eq!(made.labels.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn filters_choose_by_id_image_runtime_and_label() {
        let (_folder, containers, namespace) = store();
        containers.create(&namespace, "c", record()).unwrap();
        for (filter, passes) in [
            ("id==c", true),
            ("id==d", false),
            ("image==i,labels.a==1", true),
            ("runtime.name~=davit", true),
            ("labels.b", false),
        ] {
            let filters = Filters::parse(&[filter]).unwrap();
            assert_eq!(
                containers.list(&namespace, &filters).unwrap().len() == 1,
                passes,
                "{filter}"
            );
        }
    }
}
