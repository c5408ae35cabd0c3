//! Sandbox records: what a client told of groups of containers. Nothing here knows whether anything of them runs.

use std::{borrow::Cow, time::SystemTime};

use davit_metadata::{Bucket, SANDBOXES, SandboxRecord, check_labels, filter::label};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};

use crate::kept::{Change, Kept, Kind, RecordError};

/// What an update changes where it names nothing.
const ALL_FIELDS: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

/// The records of all namespaces.
pub type Sandboxes = Kept<SandboxRecord>;

impl Kind for SandboxRecord {
    const BUCKET: Bucket<Self> = SANDBOXES;
    const NAME: &'static str = "sandbox";
    const REFUSED: &'static str = "failed to validate sandbox: invalid sandbox ID";

    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "labels" => label(&self.labels, rest),
            _ => None,
        }
    }

    fn check(&mut self, _: Change) -> Result<(), RecordError> {
        Ok(check_labels("sandbox", &self.labels)?)
    }

    fn changed_at(&mut self, now: SystemTime) {
        self.updated_at = now;
    }
}

impl Sandboxes {
    /// The sandbox that a container names, if there is a record of it; containers of before there were any name one all the same.
    pub fn known(&self, namespace: &Namespace, id: &str) -> Result<Option<ContainerId>, RecordError> {
        let Ok(id) = id.parse::<ContainerId>() else {
            return Ok(None);
        };
        match self.get(namespace, &id) {
            Ok(_) => Ok(Some(id)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(%namespace, sandbox = %id, "no record of the sandbox of a container");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Changes the fields of a record that `paths` name, or all that can change.
pub fn apply(record: &mut SandboxRecord, given: &SandboxRecord, id: &str, paths: &[String]) -> Result<(), RecordError> {
    if !paths.is_empty() {
        return paths.iter().try_for_each(|path| apply_path(record, given, id, path));
    }
    if record.runtime.name != given.runtime.name {
        return Err(RecordError::Invalid("sandbox.Runtime.Name field is immutable".into()));
    }
    ALL_FIELDS
        .iter()
        .try_for_each(|path| apply_path(record, given, id, path))
}

fn apply_path(record: &mut SandboxRecord, given: &SandboxRecord, id: &str, path: &str) -> Result<(), RecordError> {
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
            return Err(RecordError::Invalid(text));
        }
    }
    Ok(())
}
