//! The stored records. Their fields are the schema: a change of meaning needs a new schema version.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use davit_vocabulary::Digest;
use serde::{Deserialize, Serialize};

use crate::Bucket;

/// Labels of any object.
pub type Labels = BTreeMap<String, String>;

/// Containers, by id.
pub const CONTAINERS: Bucket<ContainerRecord> = Bucket::new("containers");
/// Sandboxes, by id.
pub const SANDBOXES: Bucket<SandboxRecord> = Bucket::new("sandboxes");
/// Images, by name.
pub const IMAGES: Bucket<ImageRecord> = Bucket::new("images");
/// Leases, by id.
pub const LEASES: Bucket<LeaseRecord> = Bucket::new("leases");
/// Blobs that a namespace may see, by digest.
pub const CONTENT: Bucket<ContentRecord> = Bucket::new("content");
/// Unfinished writes of blobs, by the client's ref.
pub const INGESTS: Bucket<IngestRecord> = Bucket::new("ingests");
/// Snapshots of the overlayfs snapshotter, by key.
pub const OVERLAY_SNAPSHOTS: Bucket<SnapshotRecord> = Bucket::new("snapshots.overlayfs");

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Its labels; they may hold defaults such as the runtime.
    pub labels: Labels,
}

/// Bytes, base64 in the stored JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Blob(pub Vec<u8>);

impl From<Blob> for String {
    fn from(blob: Blob) -> String {
        STANDARD.encode(blob.0)
    }
}

impl TryFrom<String> for Blob {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

/// A typed message whose meaning is the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyRecord {
    /// The name of the type.
    pub type_url: String,
    /// The encoded message.
    pub value: Blob,
}

/// The runtime of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// A name such as `io.containerd.davit.v1`, or the path of a shim.
    pub name: String,
    /// Options for the shim.
    pub options: Option<AnyRecord>,
}

/// A container: intent only, for its state lies in its shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Labels.
    pub labels: Labels,
    /// The name of its image; may be empty.
    pub image: String,
    /// Its runtime.
    pub runtime: RuntimeRecord,
    /// The OCI specification.
    pub spec: Option<AnyRecord>,
    /// The snapshotter of its root file system; may be empty.
    pub snapshotter: String,
    /// The snapshot that is its root file system; may be empty.
    pub snapshot_key: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// Data of clients, by name.
    pub extensions: BTreeMap<String, AnyRecord>,
    /// The sandbox it belongs to; may be empty.
    pub sandbox: String,
}

/// A sandbox: what a client told of a group of containers. Whether anything of it runs is its controller's to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Labels.
    pub labels: Labels,
    /// Its runtime.
    pub runtime: RuntimeRecord,
    /// Its specification.
    pub spec: Option<AnyRecord>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// Data of clients, by name.
    pub extensions: BTreeMap<String, AnyRecord>,
    /// The name of its controller; may be empty.
    pub sandboxer: String,
}

/// A pointer to a blob: OCI's descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The media type of the blob.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Labels,
}

/// An image: a name for a manifest or an index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// What the name stands for.
    pub target: Descriptor,
    /// Labels.
    pub labels: Labels,
    /// When the name was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

/// A thing that a lease can hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// `content`, `ingests`, `images` or `snapshots/<snapshotter>`.
    pub kind: String,
    /// Its digest, ref, name or key.
    pub id: String,
}

impl Resource {
    /// A blob.
    pub fn content(digest: &Digest) -> Self {
        Self {
            kind: "content".into(),
            id: digest.to_string(),
        }
    }

    /// An unfinished write.
    pub fn ingest(reference: &str) -> Self {
        Self {
            kind: "ingests".into(),
            id: reference.into(),
        }
    }

    /// A snapshot.
    pub fn snapshot(snapshotter: &str, key: &str) -> Self {
        Self {
            kind: format!("snapshots/{snapshotter}"),
            id: key.into(),
        }
    }
}

/// A lease: keeps what it holds from being collected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// Labels; `containerd.io/gc.expire` ends the lease at a time.
    pub labels: Labels,
    /// When it was made.
    pub created_at: SystemTime,
    /// What it holds.
    pub resources: BTreeSet<Resource>,
}

impl Default for LeaseRecord {
    fn default() -> Self {
        Self {
            labels: Labels::new(),
            created_at: SystemTime::now(),
            resources: BTreeSet::new(),
        }
    }
}

/// A blob as one namespace sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContentRecord {
    /// Its size in bytes.
    pub size: u64,
    /// Labels.
    pub labels: Labels,
    /// When the namespace got it.
    pub created_at: SystemTime,
    /// When its labels were last changed.
    pub updated_at: SystemTime,
}

impl ContentRecord {
    /// A record of now without labels.
    pub fn new(size: u64) -> Self {
        let now = SystemTime::now();
        Self {
            size,
            labels: Labels::new(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// An unfinished write of a blob.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IngestRecord {
    /// The digest that the client said it would write.
    pub expected: Option<Digest>,
    /// When the write began.
    pub started_at: SystemTime,
}

/// What a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Read-only, never to be committed.
    View,
    /// Writable; becomes committed or is removed.
    Active,
    /// Read-only; may be a parent.
    Committed,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The number that names its directory. Never used twice.
    pub id: u64,
    /// What it is.
    pub kind: SnapshotKind,
    /// The key of its parent.
    pub parent: Option<String>,
    /// Labels.
    pub labels: Labels,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// Its disk usage, once somebody asked after it was committed.
    pub usage: Option<SnapshotUsage>,
}

/// The disk usage of a snapshot alone, without its parents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotUsage {
    /// Bytes on disk.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}
