//! Between the wire's container and the record.

use std::time::SystemTime;

use davit_containerd_api::services::containers::v1::{Container, container::Runtime};
use davit_metadata::{ContainerRecord, RuntimeRecord};

use crate::{
    kept::RecordError,
    services::records::{any_from_wire, any_to_wire, extensions_from_wire, extensions_to_wire},
};

/// What is replaced where an update names no fields.
const ALL_FIELDS: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

pub(super) fn from_wire(container: Container, now: SystemTime) -> (String, ContainerRecord) {
    let runtime = container.runtime.unwrap_or_default();
    let record = ContainerRecord {
        labels: container.labels.into_iter().collect(),
        image: container.image,
        runtime: RuntimeRecord {
            name: runtime.name,
            options: runtime.options.map(any_from_wire),
        },
        spec: container.spec.map(any_from_wire),
        snapshotter: container.snapshotter,
        snapshot_key: container.snapshot_key,
        created_at: now,
        updated_at: now,
        extensions: extensions_from_wire(container.extensions),
        sandbox: container.sandbox,
    };
    (container.id, record)
}

pub(super) fn to_wire(id: String, record: ContainerRecord) -> Container {
    Container {
        id,
        labels: record.labels.into_iter().collect(),
        image: record.image,
        runtime: Some(Runtime {
            name: record.runtime.name,
            options: record.runtime.options.map(any_to_wire),
        }),
        spec: record.spec.map(any_to_wire),
        snapshotter: record.snapshotter,
        snapshot_key: record.snapshot_key,
        created_at: Some(record.created_at.into()),
        updated_at: Some(record.updated_at.into()),
        extensions: extensions_to_wire(record.extensions),
        sandbox: record.sandbox,
    }
}

/// Applies an update's field mask, as `field_mask.proto` has it. Without paths everything that can change is replaced.
pub(super) fn apply(
    record: &mut ContainerRecord,
    given: ContainerRecord,
    id: &str,
    paths: &[String],
) -> Result<(), RecordError> {
    let immutable = |field: &str| Err(RecordError::Invalid(format!("container.{field} field is immutable")));
    if !paths.is_empty() {
        return paths.iter().try_for_each(|path| apply_path(record, &given, id, path));
    }
    if record.snapshotter != given.snapshotter {
        return immutable("Snapshotter");
    }
    if record.runtime.name != given.runtime.name {
        return immutable("Runtime.Name");
    }
    ALL_FIELDS
        .iter()
        .try_for_each(|path| apply_path(record, &given, id, path))
}

fn apply_path(record: &mut ContainerRecord, given: &ContainerRecord, id: &str, path: &str) -> Result<(), RecordError> {
    if let Some(key) = path.strip_prefix("labels.") {
        match given.labels.get(key) {
            Some(value) => record.labels.insert(key.into(), value.clone()),
            None => record.labels.remove(key),
        };
        return Ok(());
    }
    if let Some(key) = path.strip_prefix("extensions.") {
        match given.extensions.get(key) {
            Some(value) => record.extensions.insert(key.into(), value.clone()),
            None => record.extensions.remove(key),
        };
        return Ok(());
    }
    match path {
        "labels" => record.labels.clone_from(&given.labels),
        "spec" => record.spec.clone_from(&given.spec),
        "extensions" => record.extensions.clone_from(&given.extensions),
        "image" => record.image.clone_from(&given.image),
        "snapshotkey" => record.snapshot_key.clone_from(&given.snapshot_key),
        _ => {
            return Err(RecordError::Invalid(format!("cannot update {path:?} field on {id:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost_types::Any;

    use super::*;

    fn container(image: &str, label: &str) -> Container {
        Container {
            id: "c".into(),
            image: image.into(),
            labels: [("l".to_owned(), label.to_owned())].into(),
            ..Default::default()
        }
    }

    fn updated(paths: &[&str]) -> Result<ContainerRecord, RecordError> {
        let (_, mut record) = from_wire(container("old", "old"), SystemTime::now());
        let (_, given) = from_wire(container("new", "new"), SystemTime::now());
        let paths: Vec<_> = paths.iter().map(|path| path.to_string()).collect();
        apply(&mut record, given, "c", &paths).map(|()| record)
    }

    #[test]
    fn a_mask_changes_what_it_names() {
        let record = updated(&["image"]).unwrap();
        assert_eq!((record.image.as_str(), record.labels["l"].as_str()), ("new", "old"));
        let record = updated(&["labels.l", "labels.other"]).unwrap();
        assert_eq!((record.image.as_str(), record.labels["l"].as_str()), ("old", "new"));
        let record = updated(&[]).unwrap();
        assert_eq!((record.image.as_str(), record.labels["l"].as_str()), ("new", "new"));
    }

    #[test]
    fn a_field_that_cannot_change_is_named() {
        let refused = updated(&["createdat"]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot update \"createdat\" field on \"c\": invalid argument"
        );
    }

    #[test]
    fn a_container_comes_back_from_its_record_as_it_was() {
        let mut given = container("i", "l");
        given.spec = Some(Any {
            type_url: "t".into(),
            value: vec![0, 255],
        });
        let (id, record) = from_wire(given.clone(), SystemTime::now());
        let back = to_wire(id, record);
        assert_eq!((back.spec, back.labels), (given.spec, given.labels));
    }
}
