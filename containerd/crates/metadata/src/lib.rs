//! The manager's durable records: one redb file, `<root>/meta.db`.
//!
//! # Schema (version 1)
//!
//! ```text
//! meta                                     key -> number
//!   schema                                 the version of this drawing
//!   snapshot-id                            the last number given to a snapshot directory
//! namespaces          (namespace, "")      -> NamespaceRecord
//! containers          (namespace, id)      -> ContainerRecord
//! sandboxes           (namespace, id)      -> SandboxRecord
//! images              (namespace, name)    -> ImageRecord
//! leases              (namespace, id)      -> LeaseRecord, with the resources it holds
//! content             (namespace, digest)  -> ContentRecord: who may see a blob, and its labels
//! ingests             (namespace, ref)     -> IngestRecord
//! snapshots.overlayfs (namespace, key)     -> SnapshotRecord
//! ```
//!
//! Every value is JSON, so that a later version can add a field and an earlier one can be read by eye.
//! Other crates add buckets of their own with [`Bucket::new`]; a bucket that was never written is empty.
//!
//! What always holds: a call that returned `Ok` from [`Database::write`] is on disk, one that returned `Err` has changed
//! nothing, and a namespace with a record in any bucket exists. Nothing here touches a file but the store, and no
//! transaction may be kept open over file-system work.

pub mod filter;
pub mod gc;
pub mod namespaces;

mod bucket;
mod changes;
mod database;
mod error;
mod labels;
mod records;
mod scope;

pub use bucket::{Bucket, Reader, Records, Writer};
pub use changes::{Change, Listener, deaf};
pub use database::Database;
pub use error::StoreError;
pub use labels::{LabelChange, NotALabel};
pub use records::{
    AnyRecord, Blob, CONTAINERS, CONTENT, ContainerRecord, ContentRecord, Descriptor, IMAGES, INGESTS, ImageRecord,
    IngestRecord, LEASES, Labels, LeaseRecord, NamespaceRecord, OVERLAY_SNAPSHOTS, Resource, RuntimeRecord, SANDBOXES,
    SandboxRecord, SnapshotKind, SnapshotRecord, SnapshotUsage,
};
pub use scope::{Scope, check_labels, rfc3339};
