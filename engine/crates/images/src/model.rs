//! What the calls of this crate take and give.

use std::{collections::BTreeMap, sync::Arc};

use davit_vocabulary::{ContainerId, Digest};
use jiff::Timestamp;

use crate::{ImageConfig, reference::Reference};

/// An image found by name or id, with all that a container needs of it.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Docker's image id: the digest of the configuration.
    pub id: Digest,
    /// The name it was found under in the store; for a look-up by id, any of its names.
    pub name: String,
    /// What the name points at: an index or a manifest.
    pub target: Digest,
    /// The manifest for this platform.
    pub manifest: Digest,
    /// The parsed configuration.
    pub config: Arc<ImageConfig>,
    /// The snapshot to prepare a container's file system from; `None` for an image without layers.
    pub chain_id: Option<Digest>,
}

/// A platform as in an OCI descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `v7`, `v8`, or empty.
    pub variant: String,
}

/// How to log in at a registry: what `X-Registry-Auth` carried.
#[derive(Clone, Default)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or personal token.
    pub password: String,
    /// An OAuth2 refresh token; used instead of the password where it is set.
    pub identity_token: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// What a pull brought.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The digest the reference pointed at.
    pub digest: Digest,
    /// Whether anything changed: "Downloaded newer image" or "Image is up to date".
    pub changed: bool,
}

/// What `docker import` asks for.
#[derive(Clone, Debug, Default)]
pub struct Import {
    /// The name to give; without one the image is dangling.
    pub reference: Option<Reference>,
    /// Dockerfile instructions to apply to the configuration: `CMD`, `ENV`, ….
    pub changes: Vec<String>,
    /// The comment of the image's only layer.
    pub message: String,
    /// Platform to record; without one, this machine's.
    pub platform: Option<Platform>,
}

/// The filters of `docker images`. Empty lists do not filter.
#[derive(Clone, Debug, Default)]
pub struct ListFilters {
    /// Only images with (`false`) or without (`true`) a tag.
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must hold.
    pub labels: Vec<String>,
    /// Patterns for familiar names (`busybox`, `*/web:1.*`); one must match.
    pub references: Vec<String>,
    /// Name or id of an image: only images made before it.
    pub before: Option<String>,
    /// Name or id of an image: only images made after it.
    pub since: Option<String>,
}

/// One line of `docker images`.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    /// Digest of the configuration.
    pub id: Digest,
    /// Familiar `name:tag`s.
    pub repo_tags: Vec<String>,
    /// Familiar `name@digest`s of the registries it came from.
    pub repo_digests: Vec<String>,
    /// When the image was made.
    pub created: Timestamp,
    /// Bytes of the unpacked layers, or of the compressed ones where containerd has no snapshot of them.
    pub size: i64,
    /// Labels of the configuration.
    pub labels: BTreeMap<String, String>,
}

/// What `docker image inspect` shows.
#[derive(Clone, Debug)]
pub struct ImageDetails {
    /// The line in the list.
    pub summary: ImageSummary,
    /// The configuration.
    pub config: Arc<ImageConfig>,
    /// When its newest name was set.
    pub last_tagged: Option<Timestamp>,
    /// The snapshotter that holds its layers.
    pub snapshotter: String,
}

/// One line of `docker history`, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryEntry {
    /// The image id on the newest line, `None` ("<missing>") below.
    pub id: Option<Digest>,
    /// When the step was made.
    pub created: Option<Timestamp>,
    /// The instruction.
    pub created_by: String,
    /// Familiar tags, on the newest line.
    pub tags: Vec<String>,
    /// Bytes of the layer; 0 for a step without one.
    pub size: i64,
    /// The comment.
    pub comment: String,
}

/// A container that uses an image.
#[derive(Clone, Debug)]
pub struct ImageUse {
    /// Image id.
    pub image: Digest,
    /// The container.
    pub container: ContainerId,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// How `docker rmi` was called.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Remove names although several exist, and images of stopped containers.
    pub force: bool,
    /// Keep untagged parents. Images here have no parents: accepted, without effect.
    pub no_prune: bool,
}

/// One line of the answer to a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// A familiar name is gone.
    Untagged(String),
    /// An image (or a layer's chain id) is gone.
    Deleted(Digest),
}
