//! What the services of content, snapshots, images and leases share: the scope of a call, the way from their errors to a
//! status, and the way from a change to an event.

use std::time::SystemTime;

use davit_archive::ArchiveError;
use davit_containerd_api::{
    events::{ContentCreate, ContentDelete, SnapshotCommit, SnapshotPrepare, SnapshotRemove},
    services::images::v1::{ImageCreate, ImageDelete, ImageUpdate},
    types::Descriptor as WireDescriptor,
};
use davit_content::ContentError;
use davit_images::ImageError;
use davit_metadata::{
    Change, Descriptor, Labels, Listener, Scope, StoreError,
    filter::{Fields, Filters},
};
use davit_registry::RegistryError;
use davit_snapshots::SnapshotError;
use davit_vocabulary::{Digest, ErrorKind, InvalidDigest};
use prost_types::Timestamp;
use tonic::{Request, Status};

use super::{blocking, in_words, lease, namespace, status};
use crate::{checkpoints::CheckpointError, events::EventBus};

/// The namespace and the lease of a call.
pub(super) fn scope<T>(request: &Request<T>) -> Result<Scope, Status> {
    Ok(Scope {
        namespace: namespace(request)?,
        lease: lease(request),
    })
}

/// An error of a store.
pub(super) trait Failure: std::fmt::Display + Send + 'static {
    /// Its kind.
    fn kind(&self) -> ErrorKind;
}

macro_rules! failures {
    ($($error:ty),+) => {
        $(impl Failure for $error {
            fn kind(&self) -> ErrorKind {
                Self::kind(self)
            }
        })+
    };
}

failures!(
    ContentError,
    SnapshotError,
    ImageError,
    StoreError,
    ArchiveError,
    RegistryError,
    CheckpointError
);

/// The status of a store's error.
pub(super) fn failed(error: impl Failure) -> Status {
    status(error.kind(), error)
}

/// Runs a store's work where it may block.
pub(super) async fn run<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Status>
where
    T: Send + 'static,
    E: Failure,
{
    blocking(work).await.map_err(failed)
}

/// Those objects that pass the filters of a call.
pub(super) fn filtered<T: Fields>(objects: Vec<T>, filters: &Filters) -> Vec<T> {
    objects.into_iter().filter(|object| filters.matches(object)).collect()
}

/// The filters of a call. That they are an invalid argument is said twice, as containerd does.
pub(super) fn filters(texts: &[String]) -> Result<Filters, Status> {
    Filters::parse(texts).map_err(|error| Status::invalid_argument(format!("{error}: invalid argument")))
}

/// A digest that a client sent.
pub(super) fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error: InvalidDigest| Status::invalid_argument(error.reason()))
}

/// A digest that a client may leave out.
pub(super) fn optional_digest(text: &str) -> Result<Option<Digest>, Status> {
    (!text.is_empty()).then(|| digest(text)).transpose()
}

/// Labels that a client sent.
pub(super) fn labels(given: impl IntoIterator<Item = (String, String)>) -> Labels {
    given.into_iter().collect()
}

/// A time for the wire.
pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Some(Timestamp::from(time))
}

/// A descriptor for the wire.
pub(super) fn wire_descriptor(descriptor: &Descriptor) -> WireDescriptor {
    WireDescriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: descriptor.annotations.clone().into_iter().collect(),
    }
}

/// A descriptor that a client sent.
pub(super) fn descriptor(wire: WireDescriptor) -> Result<Descriptor, Status> {
    let digest = digest(&wire.digest).map_err(|status| in_words(&wire.digest, status))?;
    Ok(Descriptor {
        media_type: wire.media_type,
        digest,
        // One below zero is none, which who needs one refuses.
        size: u64::try_from(wire.size).unwrap_or_default(),
        annotations: labels(wire.annotations),
    })
}

/// Publishes every change of the stores as containerd's event.
pub fn publisher(events: EventBus) -> Listener {
    std::sync::Arc::new(move |namespace, change| match change {
        Change::ContentCreated { digest, size } => {
            let event = ContentCreate {
                digest: digest.to_string(),
                size: i64::try_from(size).unwrap_or(i64::MAX),
                ..ContentCreate::default()
            };
            events.publish(namespace, "/content/create", &event);
        }
        Change::ContentDeleted { digest } => {
            let digest = digest.to_string();
            events.publish(namespace, "/content/delete", &ContentDelete { digest });
        }
        Change::ImageCreated { name, labels } => {
            let labels = labels.into_iter().collect();
            events.publish(namespace, "/images/create", &ImageCreate { name, labels });
        }
        Change::ImageUpdated { name, labels } => {
            let labels = labels.into_iter().collect();
            events.publish(namespace, "/images/update", &ImageUpdate { name, labels });
        }
        Change::ImageDeleted { name } => events.publish(namespace, "/images/delete", &ImageDelete { name }),
        Change::SnapshotPrepared {
            key,
            parent,
            snapshotter,
        } => {
            let event = SnapshotPrepare {
                key,
                parent,
                snapshotter,
            };
            events.publish(namespace, "/snapshot/prepare", &event);
        }
        Change::SnapshotCommitted { key, name, snapshotter } => {
            let event = SnapshotCommit { key, name, snapshotter };
            events.publish(namespace, "/snapshot/commit", &event);
        }
        Change::SnapshotRemoved { key, snapshotter } => {
            events.publish(namespace, "/snapshot/remove", &SnapshotRemove { key, snapshotter });
        }
    })
}
