//! Container records: what a client asked for. Nothing here knows whether anything runs.

use std::{borrow::Cow, time::SystemTime};

use davit_containerd_api::events::ContainerUpdate;
use davit_metadata::{
    Bucket, CONTAINERS, ContainerRecord, StoreError, check_labels,
    filter::{label, non_empty},
};
use davit_vocabulary::Namespace;

use crate::kept::{Change, Kept, Kind, RecordError, Verb};

pub(crate) mod task;

/// The records of all namespaces.
pub type Containers = Kept<ContainerRecord>;

/// The event of a record's change.
pub(crate) fn updated(id: String, record: &ContainerRecord) -> ContainerUpdate {
    ContainerUpdate {
        id,
        image: record.image.clone(),
        labels: record.labels.clone().into_iter().collect(),
        snapshot_key: record.snapshot_key.clone(),
    }
}

impl Kind for ContainerRecord {
    const BUCKET: Bucket<Self> = CONTAINERS;
    const NAME: &'static str = "container";
    const REFUSED: &'static str = "create container failed validation: container.ID";

    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let (first, rest) = path.split_first()?;
        match (first.as_str(), rest) {
            ("image", _) => non_empty(&self.image),
            ("runtime", [name, ..]) if name == "name" => non_empty(&self.runtime.name),
            ("labels", rest) => label(&self.labels, rest),
            _ => None,
        }
    }

    fn missing(verb: Verb, id: &str, namespace: &Namespace) -> String {
        match verb {
            Verb::Get => format!("{id:?} in namespace {:?}", namespace.as_str()),
            Verb::Update => format!("{id:?}"),
            Verb::Delete => id.to_owned(),
        }
    }

    fn check(&mut self, change: Change) -> Result<(), RecordError> {
        let what = match change {
            Change::Create => "create container failed validation",
            Change::Update => "update failed validation",
        };
        validate(self).map_err(|error| in_words(what, error))
    }

    fn changed_at(&mut self, now: SystemTime) {
        self.updated_at = now;
    }
}

fn validate(record: &mut ContainerRecord) -> Result<(), RecordError> {
    let invalid = |text: &str| Err(RecordError::Invalid(text.into()));
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

fn in_words(what: &str, error: RecordError) -> RecordError {
    match error {
        RecordError::Invalid(text) => RecordError::Invalid(format!("{what}: {text}")),
        // It says itself what kind of error it is.
        RecordError::Store(error @ StoreError::LabelTooLong { .. }) => {
            let text = error.to_string();
            RecordError::Invalid(format!("{what}: {}", text.trim_end_matches(": invalid argument")))
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use davit_metadata::{AnyRecord, Database, RuntimeRecord, filter::Filters};
    use davit_vocabulary::{ErrorKind, Namespace};

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
