//! Names in containerd's image store, read as Docker's references.

use davit_containerd_api::services::images::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use davit_containerd_api::types::Descriptor;
use davit_vocabulary::Digest;
use jiff::Timestamp;

use crate::{Reference, Result, error::containerd, store::Store};

/// What an image without a name is stored under, with its digest behind.
pub(crate) const DANGLING: &str = "moby-dangling";

/// One name and what it points at.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// As stored.
    pub name: String,
    /// The name as a reference; `None` for a dangling one or a name that another client gave and Docker could not.
    pub reference: Option<Reference>,
    pub target: Digest,
    pub descriptor: Descriptor,
    pub updated: Option<Timestamp>,
}

impl Named {
    /// `None` for a record whose target is no digest: not an image anybody could run.
    pub(crate) fn read(image: Image) -> Option<Self> {
        let descriptor = image.target?;
        let target = descriptor.digest.parse().ok()?;
        let is_dangling = image.name.starts_with(DANGLING);
        let reference = if is_dangling { None } else { canonical(&image.name) };
        let updated = image.updated_at.or(image.created_at);
        let updated = updated.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
        Some(Self {
            name: image.name,
            reference,
            target,
            descriptor,
            updated,
        })
    }

    /// Whether it is `name@digest`.
    pub(crate) fn is_digest(&self) -> bool {
        self.reference
            .as_ref()
            .is_some_and(|reference| reference.digest().is_some())
    }

    /// Whether it is `name:tag`.
    pub(crate) fn is_tag(&self) -> bool {
        self.reference
            .as_ref()
            .is_some_and(|reference| reference.digest().is_none())
    }
}

/// A stored name that is a complete canonical reference.
fn canonical(name: &str) -> Option<Reference> {
    let reference: Reference = name.parse().ok()?;
    (reference.store_name() == name).then_some(reference)
}

/// The dangling name of a target.
pub(crate) fn dangling(target: &Digest) -> String {
    format!("{DANGLING}@{target}")
}

/// One name; `None` where it is not there.
pub(crate) async fn get(store: &Store, name: &str) -> Result<Option<Named>> {
    let answer = store.images().get(GetImageRequest { name: name.into() }).await;
    match answer.map_err(containerd("get image")) {
        Ok(answer) => Ok(answer.into_inner().image.and_then(Named::read)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All names, or those that pass one of containerd's filters.
pub(crate) async fn list(store: &Store, filters: Vec<String>) -> Result<Vec<Named>> {
    let answer = store
        .images()
        .list(ListImagesRequest { filters })
        .await
        .map_err(containerd("list images"))?;
    Ok(answer.into_inner().images.into_iter().filter_map(Named::read).collect())
}

/// Points a name at a target, whether or not it was there.
pub(crate) async fn set(store: &Store, name: &str, descriptor: &Descriptor) -> Result<()> {
    let image = Some(Image {
        name: name.into(),
        target: Some(descriptor.clone()),
        ..Default::default()
    });
    let created = store
        .images()
        .create(CreateImageRequest {
            image: image.clone(),
            ..Default::default()
        })
        .await;
    match created.map_err(containerd("create image")) {
        Err(error) if error.is_already_exists() => {}
        other => return other.map(|_| ()),
    }
    let update_mask = Some(prost_types::FieldMask {
        paths: vec!["target".into()],
    });
    let request = UpdateImageRequest {
        image,
        update_mask,
        ..Default::default()
    };
    store
        .images()
        .update(request)
        .await
        .map_err(containerd("update image"))?;
    Ok(())
}

/// Takes a name away; one that is gone already is fine. `collect` waits for what only it kept to be collected.
pub(crate) async fn delete(store: &Store, name: &str, collect: bool) -> Result<()> {
    let request = DeleteImageRequest {
        name: name.into(),
        sync: collect,
        target: None,
    };
    match store.images().delete(request).await.map_err(containerd("delete image")) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}
