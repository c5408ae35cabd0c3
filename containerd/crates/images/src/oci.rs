//! What images are made of: OCI's and Docker's indexes, manifests and configurations, as far as they are read here.
//!
//! They are strangers' documents: unknown fields are ignored, known ones are checked, and nothing larger than
//! [`DOCUMENT_LIMIT`] is read.

use davit_content::ContentStore;
use davit_metadata::{Descriptor, Labels, Scope};
use davit_vocabulary::Digest;
use serde::{Deserialize, Serialize};

use crate::{ImageError, Platform};

/// The most bytes that an index, a manifest or a configuration may have.
pub const DOCUMENT_LIMIT: u64 = 8 << 20;

/// OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// OCI's configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's uncompressed layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker's layer with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// A descriptor as documents have it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// The media type.
    #[serde(default)]
    pub media_type: String,
    /// The digest.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// Annotations.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// An index or a manifest list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// The media type, which older documents leave out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Reference>,
}

/// A manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// The media type, which older documents leave out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The configuration.
    pub config: Reference,
    /// The layers, the lowest first.
    #[serde(default)]
    pub layers: Vec<Reference>,
}

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Config {
    /// The platform that the files are for.
    #[serde(flatten)]
    pub platform: Platform,
    /// The layers as they are unpacked.
    #[serde(default)]
    pub rootfs: RootFs,
}

/// The layers of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RootFs {
    /// Digests of the plain archives, the lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// The part of an image that a media type names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An index or a manifest list.
    Index,
    /// A manifest.
    Manifest,
    /// A configuration.
    Config,
    /// A layer.
    Layer,
    /// Anything else.
    Other,
}

impl Role {
    /// The part that this media type names.
    pub fn of(media_type: &str) -> Self {
        match media_type {
            OCI_INDEX | DOCKER_LIST => Self::Index,
            OCI_MANIFEST | DOCKER_MANIFEST => Self::Manifest,
            OCI_CONFIG | DOCKER_CONFIG => Self::Config,
            other if other.starts_with("application/vnd.oci.image.layer.") => Self::Layer,
            other if other.starts_with("application/vnd.docker.image.rootfs.") => Self::Layer,
            _ => Self::Other,
        }
    }

    /// The start of the name of a write of such a part.
    fn ref_prefix(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "config",
            Self::Layer => "layer",
            Self::Other => "unknown",
        }
    }

    /// The label by which a parent keeps such a part from being collected.
    fn label(self) -> &'static str {
        match self {
            Self::Index | Self::Manifest => "containerd.io/gc.ref.content.m.",
            Self::Layer => "containerd.io/gc.ref.content.l.",
            Self::Config => "containerd.io/gc.ref.content.config",
            Self::Other => "containerd.io/gc.ref.content.",
        }
    }
}

impl Reference {
    /// The name under which this blob is written; two pulls of it meet there.
    pub fn write_ref(&self) -> String {
        format!("{}-{}", Role::of(&self.media_type).ref_prefix(), self.digest)
    }

    /// The record's form.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.size,
            annotations: self.annotations.clone(),
        }
    }
}

impl From<Descriptor> for Reference {
    fn from(descriptor: Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type,
            digest: descriptor.digest,
            size: descriptor.size,
            annotations: descriptor.annotations,
            platform: None,
        }
    }
}

/// Reads a document from the content store.
pub fn read<T: for<'a> Deserialize<'a>>(
    content: &ContentStore,
    scope: &Scope,
    reference: &Reference,
) -> Result<T, ImageError> {
    let bytes = content.read(scope, &reference.digest, DOCUMENT_LIMIT)?;
    parse(&bytes, reference)
}

/// Parses a document, which must be of the sort that its descriptor says.
fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8], reference: &Reference) -> Result<T, ImageError> {
    let damaged = |problem: String| ImageError::Document {
        digest: reference.digest.clone(),
        problem,
    };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let has = |field: &str| value.get(field).is_some_and(|value| !value.is_null());
    match Role::of(&reference.media_type) {
        Role::Manifest if has("manifests") => return Err(damaged("expected a manifest but found an index".into())),
        Role::Manifest if has("fsLayers") => return Err(damaged("schema 1 manifests are not supported".into())),
        Role::Index if has("layers") || has("config") => {
            return Err(damaged("expected an index but found a manifest".into()));
        }
        _ => {}
    }
    serde_json::from_value(value).map_err(|error| damaged(error.to_string()))
}

/// What a blob refers to: nothing, where it is neither an index nor a manifest.
pub fn children(content: &ContentStore, scope: &Scope, parent: &Reference) -> Result<Vec<Reference>, ImageError> {
    match Role::of(&parent.media_type) {
        Role::Index => Ok(read::<Index>(content, scope, parent)?.manifests),
        Role::Manifest => {
            let manifest: Manifest = read(content, scope, parent)?;
            Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
        }
        Role::Config | Role::Layer | Role::Other => Ok(Vec::new()),
    }
}

/// The labels by which a parent keeps its children.
pub fn child_labels(children: &[Reference]) -> Labels {
    let mut labels = Labels::new();
    let mut counts = std::collections::BTreeMap::new();
    for child in children {
        let key = Role::of(&child.media_type).label();
        let index: &mut u32 = counts.entry(key).or_default();
        let label = match key.ends_with('.') || *index > 0 {
            true => format!("{key}{index}"),
            false => key.to_owned(),
        };
        *index += 1;
        labels.insert(label, child.digest.to_string());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(media_type: &str, n: u8) -> Reference {
        Reference {
            media_type: media_type.into(),
            digest: Digest::sha256([n; 32]),
            size: 1,
            annotations: Labels::new(),
            platform: None,
        }
    }

    #[test]
    fn parents_keep_their_children_by_containerds_labels() {
        let children = [
            reference(OCI_CONFIG, 1),
            reference("application/vnd.oci.image.layer.v1.tar+gzip", 2),
            reference(DOCKER_LAYER_GZIP, 3),
            reference("text/plain", 4),
        ];
        let labels = child_labels(&children);
        let keys: Vec<&str> = labels.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "containerd.io/gc.ref.content.0",
                "containerd.io/gc.ref.content.config",
                "containerd.io/gc.ref.content.l.0",
                "containerd.io/gc.ref.content.l.1",
            ]
        );
    }

    #[test]
    fn a_document_of_another_sort_than_its_descriptor_says_is_refused() {
        let manifest = reference(OCI_MANIFEST, 1);
        let index = reference(OCI_INDEX, 1);
        assert!(parse::<Manifest>(br#"{"manifests":[]}"#, &manifest).is_err());
        assert!(parse::<Manifest>(br#"{"fsLayers":[]}"#, &manifest).is_err());
        assert!(parse::<Index>(br#"{"layers":[]}"#, &index).is_err());
        assert!(parse::<Index>(br#"[1"#, &index).is_err());
        assert!(parse::<Index>(br#"{"manifests":[{"digest":"../x","size":1}]}"#, &index).is_err());
        assert!(parse::<Index>(br#"{"manifests":[]}"#, &index).is_ok());
    }
}
