//! What `docker save` wrote before it wrote OCI layouts: `manifest.json`, configurations and layers.

use davit_archive::Compression;
use davit_content::{ContentError, ContentStore};
use davit_metadata::{Labels, Scope};
use davit_registry::Reference as Name;
use davit_vocabulary::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    ImageError,
    oci::{
        self, Config, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER_GZIP, DOCKER_MANIFEST, Index, Manifest, OCI_INDEX,
        Reference,
    },
};

use super::Found;

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Writes a manifest for every saved image and an index of them.
pub(super) fn index(content: &ContentStore, scope: &Scope, mut found: Found) -> Result<Reference, ImageError> {
    let saved = found
        .docker
        .take()
        .ok_or_else(|| ImageError::Archive("unrecognized image format".into()))?;
    for (name, target) in std::mem::take(&mut found.links) {
        let blob = found.blobs.get(&target).cloned();
        let blob = blob.ok_or_else(|| ImageError::Archive(format!("no target for link {name:?} to {target:?}")))?;
        found.blobs.insert(name, blob);
    }
    let mut index = Index {
        schema_version: 2,
        // Left out, so that the bytes and the digest are those that containerd makes of the same archive.
        media_type: String::new(),
        manifests: Vec::new(),
    };
    for image in saved {
        let manifest = manifest(content, scope, &image, &found)?;
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            index.manifests.push(manifest.clone());
        }
        for tag in tags {
            let mut tagged = manifest.clone();
            tagged.annotations = annotations(&tag)?;
            index.manifests.push(tagged);
        }
    }
    write(content, scope, &index, OCI_INDEX)
}

fn manifest(content: &ContentStore, scope: &Scope, image: &Saved, found: &Found) -> Result<Reference, ImageError> {
    let config = blob(found, &image.config, DOCKER_CONFIG)?;
    let mut layers = Vec::new();
    for name in image.layers.iter().flatten() {
        let mut layer = blob(found, name, DOCKER_LAYER)?;
        let start = content.reader(scope, &layer.digest)?.read_at(0, 4)?;
        if Compression::of_bytes(&start) != Compression::Plain {
            layer.media_type = DOCKER_LAYER_GZIP.into();
        }
        layers.push(layer);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: DOCKER_MANIFEST.into(),
        config,
        layers,
    };
    let parsed: Config = oci::read(content, scope, &manifest.config)?;
    let mut reference = write(content, scope, &manifest, DOCKER_MANIFEST)?;
    reference.platform = (!parsed.platform.os.is_empty()).then(|| parsed.platform.normalized());
    Ok(reference)
}

fn blob(found: &Found, name: &str, media_type: &str) -> Result<Reference, ImageError> {
    let missing = || ImageError::Archive(format!("{name:?} of manifest.json is not in the archive"));
    let clean = super::clean(name).ok_or_else(missing)?;
    let (digest, size) = found.blobs.get(&clean).cloned().ok_or_else(missing)?;
    Ok(Reference {
        media_type: media_type.into(),
        digest,
        size,
        annotations: Labels::new(),
        platform: None,
    })
}

/// The annotations that carry a tag's full name, and its tag alone.
fn annotations(tag: &str) -> Result<Labels, ImageError> {
    let name = Name::parse_familiar(tag).map_err(|error| ImageError::Archive(error.to_string()))?;
    let full = name.to_string();
    let short = name.tag().unwrap_or(&full).to_owned();
    Ok(Labels::from([
        ("io.containerd.image.name".into(), full),
        ("org.opencontainers.image.ref.name".into(), short),
    ]))
}

/// Stores a document that is made here.
fn write(
    content: &ContentStore,
    scope: &Scope,
    document: &impl Serialize,
    media_type: &str,
) -> Result<Reference, ImageError> {
    let mut bytes = Vec::new();
    serde_json::to_writer(&mut bytes, document).map_err(|error| ImageError::Archive(error.to_string()))?;
    let digest = Digest::sha256(Sha256::digest(&bytes).into());
    let reference = Reference {
        media_type: media_type.into(),
        digest: digest.clone(),
        size: bytes.len() as u64,
        annotations: Labels::new(),
        platform: None,
    };
    let mut writer = match content.writer(scope, &reference.write_ref(), Some(digest.clone()), reference.size) {
        Err(ContentError::Exists(_)) => {
            content.hold(scope, &digest)?;
            return Ok(reference);
        }
        other => other?,
    };
    writer.seek(0)?;
    writer.write(&bytes)?;
    match writer.commit(Some(reference.size), None, Labels::new()) {
        Ok(_) | Err(ContentError::Exists(_)) => Ok(reference),
        Err(error) => Err(error.into()),
    }
}
