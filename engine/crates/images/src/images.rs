//! The door of the crate: [`Images`].

use std::{io, sync::Arc};

use bytes::Bytes;
use davit_vocabulary::{Digest, Namespace};
use futures::Stream;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use crate::{
    Credentials, Deleted, HistoryEntry, ImageDetails, ImageSummary, ImageUse, Import, ListFilters, Platform, Progress,
    Pulled, Reference, RemoveOptions, ResolvedImage, Result, history, import, list, load, manifest::Manifests, pull,
    remove, resolve, size::Sizes, store::Store, tag, unpack,
};

/// Where progress goes. A receiver that goes away ends a pull; a load, whose bytes come from the client, ends with those.
pub type ProgressSender = mpsc::Sender<Progress>;

/// The images of one containerd namespace. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) settings: ImagesConfig,
    pub(crate) manifests: Manifests,
    pub(crate) sizes: Sizes,
}

/// What does not change while the engine runs.
#[derive(Clone, Debug)]
pub struct ImagesConfig {
    /// containerd's namespace.
    pub namespace: Namespace,
    /// Where layers are unpacked.
    pub snapshotter: String,
    /// Registries (host or host:port) that may be spoken to without TLS, besides those on the loopback addresses.
    pub insecure_registries: Vec<String>,
}

impl Images {
    /// Images behind this channel. Makes no call.
    pub fn new(channel: Channel, settings: ImagesConfig) -> Self {
        let store = Store::new(channel, &settings.namespace);
        Self {
            inner: Arc::new(Inner {
                store,
                settings,
                manifests: Manifests::default(),
                sizes: Sizes::default(),
            }),
        }
    }

    /// Finds an image by name or id (a prefix is enough where it is unique). One call to containerd for a name whose
    /// content is known already; an id needs the list of images.
    pub async fn resolve(&self, name_or_id: &str) -> Result<ResolvedImage> {
        resolve::resolve(self, name_or_id).await
    }

    /// Makes sure that the image's layers are snapshots. Transfer has unpacked what it pulled or loaded, so call this
    /// only where preparing a snapshot on [`ResolvedImage::chain_id`] found no parent.
    pub async fn ensure_unpacked(&self, image: &ResolvedImage) -> Result<()> {
        unpack::ensure(self, &image.target).await
    }

    /// Fetches an image and unpacks it. Without `platform` it is this machine's.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: ProgressSender,
    ) -> Result<Pulled> {
        pull::pull(self, reference, platform, credentials, progress).await
    }

    /// Reads the images of a `docker save` or OCI archive (plain, gzip or zstd tar). Returns the ids.
    pub async fn load<S>(&self, archive: S, progress: ProgressSender) -> Result<Vec<Digest>>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        load::load(self, archive, progress).await
    }

    /// Makes an image of one layer from a root file system (plain or gzip tar). Returns its id.
    pub async fn import<S>(&self, archive: S, import: Import) -> Result<Digest>
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        import::import(self, archive, import).await
    }

    /// All images that pass the filters, newest first.
    pub async fn list(&self, filters: &ListFilters) -> Result<Vec<ImageSummary>> {
        list::check_patterns(&filters.references)?;
        list::list(self, filters).await
    }

    /// All about one image.
    pub async fn inspect(&self, name_or_id: &str) -> Result<ImageDetails> {
        list::inspect(self, name_or_id).await
    }

    /// How the image came about, newest step first.
    pub async fn history(&self, name_or_id: &str) -> Result<Vec<HistoryEntry>> {
        history::history(self, name_or_id).await
    }

    /// Gives an image another name. An image that had the name keeps living without it.
    pub async fn tag(&self, name_or_id: &str, target: &Reference) -> Result<()> {
        tag::tag(self, name_or_id, target).await
    }

    /// Takes a name away, and the image with its last name; or the image with all names, where it is named by id.
    pub async fn remove(&self, name_or_id: &str, options: RemoveOptions, uses: &[ImageUse]) -> Result<Vec<Deleted>> {
        remove::remove(self, name_or_id, options, uses).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Servers spawn these calls. Nothing runs here: that it compiles is the test.
    #[test]
    fn every_call_can_be_spawned() {
        fn is_spawnable<T: Send + 'static>(_: impl FnOnce(&'static Images) -> T) {}
        fn bytes() -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
            futures::stream::empty()
        }
        fn static_reference() -> &'static Reference {
            unreachable!("the closures are not called")
        }
        is_spawnable(|images| images.pull(static_reference(), None, None, mpsc::channel(1).0));
        is_spawnable(|images| images.load(bytes(), mpsc::channel(1).0));
        is_spawnable(|images| images.import(bytes(), Import::default()));
        is_spawnable(|images| images.resolve(""));
        is_spawnable(|images| images.inspect(""));
        is_spawnable(|images| images.history(""));
        is_spawnable(|images| images.tag("", static_reference()));
        is_spawnable(|images| images.remove("", RemoveOptions::default(), &[]));
    }
}
