//! Images from a registry: documents first, then layers in parallel, each unpacked as soon as those below it are.

mod download;

use std::{collections::BTreeMap, sync::Arc};

use davit_metadata::{Labels, Scope};
use davit_registry::Repository;
use davit_vocabulary::Digest;
use tokio::{
    sync::{Semaphore, oneshot},
    task::{JoinSet, spawn_blocking},
};

use crate::{
    Destination, Image, ImageError, Platform, Reporter, Storage,
    oci::{self, Config, Manifest, Reference, Role},
    transfer::no_platform,
    unpack::unpack,
};

use download::Downloader;

/// Blobs that are fetched at the same time, as at containerd.
const PARALLEL: usize = 3;

/// Manifests found below a name.
#[derive(Default)]
struct Manifests {
    /// Those whose files are wanted.
    wanted: Vec<Reference>,
    /// Those of which only the documents are wanted.
    metadata: Vec<Reference>,
}

/// Ends the lease of a pull, also when the pull is dropped half-way.
struct PullLease {
    storage: Storage,
    scope: Scope,
    lease: String,
    is_success: bool,
}

impl Storage {
    /// Fetches what the repository's name stands for, unpacks and names it.
    pub async fn pull(
        &self,
        scope: &Scope,
        repository: Repository,
        destination: Destination,
        reporter: Reporter,
    ) -> Result<Vec<Image>, ImageError> {
        let source = format!("OCI Registry ({})", repository.reference());
        reporter.step(format!("Resolving from {source}"));
        let resolved = repository.resolve().await?;
        let mut lease = PullLease::begin(self, scope).await?;
        let pull = Pull {
            storage: self.clone(),
            scope: scope.with_lease(&lease.lease),
            destination,
            reporter,
            downloader: Arc::new(Downloader {
                storage: self.clone(),
                scope: scope.with_lease(&lease.lease),
                repository,
                permits: Semaphore::new(PARALLEL),
            }),
        };
        let root = Reference {
            media_type: resolved.media_type,
            digest: resolved.digest,
            size: resolved.size,
            annotations: Labels::new(),
            platform: None,
        };
        let images = pull.run(&root).await?;
        lease.is_success = true;
        pull.reporter.step(format!("Completed pull from {source}"));
        Ok(images)
    }
}

struct Pull {
    storage: Storage,
    scope: Scope,
    destination: Destination,
    reporter: Reporter,
    downloader: Arc<Downloader>,
}

impl Pull {
    async fn run(&self, root: &Reference) -> Result<Vec<Image>, ImageError> {
        if !matches!(Role::of(&root.media_type), Role::Index | Role::Manifest) {
            return Err(ImageError::Document {
                digest: root.digest.clone(),
                problem: format!("media type {:?} is neither an index nor a manifest", root.media_type),
            });
        }
        let manifests = self.fetch_documents(root).await?;
        for reference in &manifests.metadata {
            self.fetch_config(reference).await?;
        }
        for reference in &manifests.wanted {
            self.fetch_image(reference).await?;
        }
        let (pull, target) = (self.parts(), root.clone());
        let images = blocking(move || {
            let (storage, scope, destination) = pull;
            destination.store(&storage.images, &scope, &target.descriptor())
        })
        .await?;
        for image in &images {
            self.reporter.saved(&image.name, root);
        }
        Ok(images)
    }

    /// Fetches every index and manifest that is wanted.
    async fn fetch_documents(&self, root: &Reference) -> Result<Manifests, ImageError> {
        let name = self.downloader.repository.reference().to_string();
        let mut found = Manifests::default();
        let mut left = vec![(root.clone(), vec![name])];
        while let Some((node, parents)) = left.pop() {
            self.downloader.fetch(&node, &parents, &self.reporter).await?;
            let (storage, scope, parent) = (self.storage.clone(), self.scope.clone(), node.clone());
            let children = blocking(move || storage.label_children(&scope, &parent)).await?;
            match Role::of(&node.media_type) {
                Role::Index => {
                    let wanted = self.destination.select(children.clone());
                    if wanted.is_empty() {
                        return Err(no_platform(&self.destination, &node));
                    }
                    let parents = vec![node.write_ref()];
                    left.extend(wanted.iter().map(|child| (child.clone(), parents.clone())));
                    if self.destination.all_metadata {
                        found
                            .metadata
                            .extend(children.into_iter().filter(|child| !wanted.contains(child)));
                    }
                }
                Role::Manifest => found.wanted.push(node),
                Role::Config | Role::Layer | Role::Other => {}
            }
        }
        Ok(found)
    }

    /// Fetches a manifest of a platform that is not wanted, and its configuration.
    async fn fetch_config(&self, reference: &Reference) -> Result<(), ImageError> {
        if Role::of(&reference.media_type) != Role::Manifest {
            return Ok(());
        }
        self.downloader.fetch(reference, &[], &self.reporter).await?;
        let (storage, scope, node) = (self.storage.clone(), self.scope.clone(), reference.clone());
        let children = blocking(move || storage.label_children(&scope, &node)).await?;
        let configs = children
            .iter()
            .filter(|child| Role::of(&child.media_type) == Role::Config);
        for config in configs {
            self.downloader
                .fetch(config, &[reference.write_ref()], &self.reporter)
                .await?;
        }
        Ok(())
    }

    /// Fetches configuration and layers of a manifest, and unpacks them meanwhile.
    async fn fetch_image(&self, reference: &Reference) -> Result<(), ImageError> {
        let (storage, scope, node) = (self.storage.clone(), self.scope.clone(), reference.clone());
        let manifest: Manifest = blocking(move || oci::read(&storage.content, &scope, &node)).await?;
        let parents = vec![reference.write_ref()];
        self.downloader
            .fetch(&manifest.config, &parents, &self.reporter)
            .await?;
        let mut downloads = JoinSet::new();
        let ready = self.start_layers(&manifest, &parents, &mut downloads);
        self.unpack(reference, manifest, ready).await?;
        while let Some(download) = downloads.join_next().await {
            download.map_err(|_| ImageError::Cancelled)?;
        }
        Ok(())
    }

    /// Starts the download of every layer. What comes back tells of each, in order, how it ended.
    fn start_layers(
        &self,
        manifest: &Manifest,
        parents: &[String],
        downloads: &mut JoinSet<()>,
    ) -> Vec<oneshot::Receiver<Result<(), ImageError>>> {
        // A layer may be there twice; it is fetched once, and the second waits with the first.
        let mut waiting: BTreeMap<&Digest, (Reference, Vec<oneshot::Sender<_>>)> = BTreeMap::new();
        let mut order = Vec::new();
        let mut ready = Vec::new();
        for layer in &manifest.layers {
            let (sender, receiver) = oneshot::channel();
            let entry = waiting.entry(&layer.digest).or_insert_with(|| {
                order.push(&layer.digest);
                (layer.clone(), Vec::new())
            });
            entry.1.push(sender);
            ready.push(receiver);
        }
        for digest in order {
            let Some((layer, senders)) = waiting.remove(digest) else {
                continue;
            };
            let (downloader, parents, reporter) = (self.downloader.clone(), parents.to_vec(), self.reporter.clone());
            downloads.spawn(async move {
                let mut outcome = downloader.fetch(&layer, &parents, &reporter).await;
                for sender in senders {
                    // Nobody waits any more once another layer has failed.
                    let _ = sender.send(std::mem::replace(&mut outcome, Ok(())));
                }
            });
        }
        ready
    }

    async fn unpack(
        &self,
        reference: &Reference,
        manifest: Manifest,
        ready: Vec<oneshot::Receiver<Result<(), ImageError>>>,
    ) -> Result<(), ImageError> {
        let (storage, scope, destination) = self.parts();
        let (reporter, platform) = (self.reporter.clone(), reference.platform.clone());
        blocking(move || {
            let mut ready: Vec<_> = ready.into_iter().map(Some).collect();
            let mut wait = |index: usize| match ready[index].take() {
                None => Ok(()),
                Some(receiver) => receiver.blocking_recv().unwrap_or(Err(ImageError::Cancelled)),
            };
            let config = match destination.unpacks.is_empty() {
                true => None,
                false => Some(oci::read::<Config>(&storage.content, &scope, &manifest.config)?),
            };
            let is_for = |config: &Config| destination.unpacks_platform(known(&platform, config));
            if let Some(config) = config.filter(is_for) {
                unpack(&storage, &scope, &manifest, &config, &reporter, &mut wait)?;
            }
            (0..manifest.layers.len()).try_for_each(wait)
        })
        .await
    }

    fn parts(&self) -> (Storage, Scope, Destination) {
        (self.storage.clone(), self.scope.clone(), self.destination.clone())
    }
}

/// The platform of an image: what its configuration says, or else its index.
fn known<'a>(of_index: &'a Option<Platform>, config: &'a Config) -> &'a Platform {
    match of_index {
        Some(platform) if config.platform.os.is_empty() => platform,
        _ => &config.platform,
    }
}

impl PullLease {
    async fn begin(storage: &Storage, scope: &Scope) -> Result<Self, ImageError> {
        let (of_task, scope_of_task) = (storage.clone(), scope.clone());
        let lease = blocking(move || of_task.begin_lease(&scope_of_task)).await?;
        Ok(Self {
            storage: storage.clone(),
            scope: scope.clone(),
            lease,
            is_success: false,
        })
    }
}

impl Drop for PullLease {
    fn drop(&mut self) {
        let (storage, scope) = (self.storage.clone(), self.scope.clone());
        let (lease, is_success) = (std::mem::take(&mut self.lease), self.is_success);
        let end = move || storage.end_lease(&scope, &lease, is_success);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

/// Runs work of the stores where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    spawn_blocking(work).await.unwrap_or(Err(ImageError::Cancelled))
}

#[cfg(test)]
mod tests;
