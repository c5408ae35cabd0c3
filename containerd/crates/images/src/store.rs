use std::{borrow::Cow, sync::Arc, time::SystemTime};

use davit_metadata::{
    Change, Database, Descriptor, IMAGES, ImageRecord, LabelChange, Labels, Listener, NotALabel, Records, Resource,
    Scope, Writer, check_labels,
    filter::{Fields, label, non_empty},
};
use davit_vocabulary::Digest;

use crate::ImageError;

/// The label with the time after which the collection may take an image.
const EXPIRE: &str = "containerd.io/gc.expire";

/// An image: a name for a manifest or an index.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub target: Descriptor,
    /// Labels.
    pub labels: Labels,
    /// When the name was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

/// What to change of an image.
#[derive(Clone, Debug)]
pub struct ImageChange {
    /// The image.
    pub name: String,
    /// The target it is to have.
    pub target: Descriptor,
    /// The labels it is to have.
    pub labels: Labels,
    /// Which of both, as paths of a field mask: all where it is empty.
    pub paths: Vec<String>,
}

/// The names of images. Clones share one store.
#[derive(Clone)]
pub struct ImageStore {
    database: Arc<Database>,
    listener: Listener,
}

impl ImageStore {
    pub(crate) fn new(database: Arc<Database>, listener: Listener) -> Self {
        Self { database, listener }
    }

    /// The image of this name.
    pub fn get(&self, scope: &Scope, name: &str) -> Result<Image, ImageError> {
        let record = self.database.read(|view| view.get(&IMAGES, &scope.namespace, name))?;
        let record = record.ok_or_else(|| ImageError::NotFound(name.into()))?;
        Ok(Image::new(name.into(), record))
    }

    /// All images of the namespace, sorted by name.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Image>, ImageError> {
        let records = self.database.read(|view| view.list(&IMAGES, &scope.namespace))?;
        Ok(records
            .into_iter()
            .map(|(name, record)| Image::new(name, record))
            .collect())
    }

    /// Makes a new name.
    pub fn create(
        &self,
        scope: &Scope,
        name: &str,
        target: Descriptor,
        labels: Labels,
        created_at: SystemTime,
    ) -> Result<Image, ImageError> {
        check(name, &target, &labels)?;
        let record = ImageRecord {
            target,
            labels,
            created_at,
            updated_at: created_at,
        };
        self.database.write(|writer| {
            if writer.get(&IMAGES, &scope.namespace, name)?.is_some() {
                return Err(ImageError::Exists(name.into()));
            }
            writer.put(&IMAGES, &scope.namespace, name, &record)?;
            hold(scope, writer, name, &record)?;
            Ok(())
        })?;
        let change = Change::ImageCreated {
            name: name.into(),
            labels: record.labels.clone(),
        };
        (self.listener)(&scope.namespace, change);
        Ok(Image::new(name.into(), record))
    }

    /// Changes what a name stands for, or its labels.
    pub fn update(&self, scope: &Scope, change: ImageChange, now: SystemTime) -> Result<Image, ImageError> {
        let name = change.name.clone();
        let record = self.database.write(|writer| {
            let mut record = writer
                .get(&IMAGES, &scope.namespace, &name)?
                .ok_or_else(|| ImageError::NotFound(name.clone()))?;
            change.apply(&mut record)?;
            check(&name, &record.target, &record.labels)?;
            record.updated_at = now;
            writer.put(&IMAGES, &scope.namespace, &name, &record)?;
            hold(scope, writer, &name, &record)?;
            Ok::<_, ImageError>(record)
        })?;
        let event = Change::ImageUpdated {
            name: name.clone(),
            labels: record.labels.clone(),
        };
        (self.listener)(&scope.namespace, event);
        Ok(Image::new(name, record))
    }

    /// Makes a name stand for `target`, whether it is new or not.
    pub fn put(&self, scope: &Scope, name: &str, target: &Descriptor, labels: &Labels) -> Result<Image, ImageError> {
        let now = SystemTime::now();
        match self.create(scope, name, target.clone(), labels.clone(), now) {
            Err(ImageError::Exists(_)) => {}
            other => return other,
        }
        let change = ImageChange {
            name: name.into(),
            target: target.clone(),
            labels: labels.clone(),
            paths: Vec::new(),
        };
        self.update(scope, change, now)
    }

    /// Removes a name; with `target` only where it stands for that.
    pub fn delete(&self, scope: &Scope, name: &str, target: Option<&Digest>) -> Result<(), ImageError> {
        self.database.write(|writer| {
            let record = writer
                .get(&IMAGES, &scope.namespace, name)?
                .ok_or_else(|| ImageError::NotFound(name.into()))?;
            if let Some(expected) = target.filter(|target| **target != record.target.digest) {
                return Err(ImageError::OtherTarget {
                    name: name.into(),
                    found: record.target.digest,
                    expected: expected.clone(),
                });
            }
            writer.delete(&IMAGES, &scope.namespace, name)?;
            scope.release(writer, &held(name))?;
            Ok(())
        })?;
        (self.listener)(&scope.namespace, Change::ImageDeleted { name: name.into() });
        Ok(())
    }
}

impl ImageChange {
    fn apply(self, record: &mut ImageRecord) -> Result<(), ImageError> {
        if self.paths.is_empty() {
            record.labels = self.labels;
            record.target = self.target;
            return Ok(());
        }
        let (name, target) = (self.name, self.target);
        let (others, labels): (Vec<String>, Vec<String>) = self
            .paths
            .into_iter()
            .partition(|path| path == "target" || path == "annotations" || path.starts_with("annotations."));
        for path in others {
            match path.strip_prefix("annotations.") {
                None if path == "target" => record.target = target.clone(),
                None => record.target.annotations.clone_from(&target.annotations),
                Some(key) => {
                    let value = target.annotations.get(key).cloned().unwrap_or_default();
                    record.target.annotations.insert(key.into(), value);
                }
            }
        }
        if labels.is_empty() {
            return Ok(());
        }
        let changes = LabelChange::from_mask(&labels, self.labels).map_err(|NotALabel(field)| {
            ImageError::Invalid(format!("cannot update {field:?} field on image {name:?}"))
        })?;
        LabelChange::apply(changes, &mut record.labels);
        Ok(())
    }
}

impl Image {
    fn new(name: String, record: ImageRecord) -> Self {
        Self {
            name,
            target: record.target,
            labels: record.labels,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Fields for Image {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path[0].as_str() {
            "name" => non_empty(&self.name),
            "target" => match path.get(1)?.as_str() {
                "digest" => Some(self.target.digest.as_str().into()),
                "mediatype" => non_empty(&self.target.media_type),
                _ => None,
            },
            "labels" => label(&self.labels, &path[1..]),
            "annotations" => label(&self.target.annotations, &path[1..]),
            _ => None,
        }
    }
}

/// A name stays by itself. Only one that is to go by itself needs the call's lease.
fn hold(scope: &Scope, writer: &Writer, name: &str, record: &ImageRecord) -> Result<(), ImageError> {
    match record.labels.contains_key(EXPIRE) {
        true => Ok(scope.hold(writer, held(name))?),
        false => Ok(()),
    }
}

fn held(name: &str) -> Resource {
    Resource {
        kind: "images".into(),
        id: name.into(),
    }
}

fn check(name: &str, target: &Descriptor, labels: &Labels) -> Result<(), ImageError> {
    if name.is_empty() {
        return Err(ImageError::Invalid("image name must not be empty".into()));
    }
    if target.media_type.is_empty() {
        return Err(ImageError::Invalid("Target.MediaType must be set".into()));
    }
    if target.size == 0 {
        return Err(ImageError::Invalid("Target.Size must be greater than zero".into()));
    }
    Ok(check_labels("image", labels)?)
}
