//! Transfers into the image store that need no registry: from an archive, and from one name to another.

use std::{
    io::Read,
    time::{Duration, SystemTime},
};

use davit_metadata::{LEASES, Labels, Records, Scope, SnapshotKind, rfc3339};
use davit_registry::Reference as Name;

use crate::{
    Destination, Image, ImageError, Platform, Reporter, Storage, archive,
    oci::{self, Config, Index, Manifest, Reference, Role},
    unpack::unpack,
};

/// The kind of a lease's resource that is a snapshot of the one snapshotter.
const SNAPSHOTS: &str = "snapshots/overlayfs";
/// The label of a transfer's lease.
const LEASE_LABEL: &str = "davit.io/transfer";
/// How long a transfer's lease outlives a daemon that died in the middle.
const LEASE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

impl Storage {
    /// Stores the images of an archive, names and unpacks them.
    pub fn import(
        &self,
        scope: &Scope,
        archive: impl Read + Send,
        destination: &Destination,
        reporter: &Reporter,
    ) -> Result<Vec<Image>, ImageError> {
        self.under_lease(scope, |scope| {
            reporter.step("Importing");
            let index = archive::import(&self.content, scope, archive)?;
            let manifests = self.label_tree(scope, &index, destination)?;
            self.unpack_all(scope, &manifests, destination, reporter)?;
            let mut images = Vec::new();
            if !destination.name.is_empty() {
                images.extend(destination.store(&self.images, scope, &index.descriptor())?);
            }
            let named: Index = oci::read(&self.content, scope, &index)?;
            for manifest in named.manifests {
                images.extend(destination.store_annotated(&self.images, scope, &manifest)?);
            }
            for image in &images {
                reporter.saved(&image.name, &image.target.clone().into());
            }
            reporter.step("Completed import");
            Ok(images)
        })
    }

    /// Gives what `source` names further names.
    pub fn tag(&self, scope: &Scope, source: &str, destination: &Destination) -> Result<Vec<Image>, ImageError> {
        let image = self.images.get(scope, source)?;
        destination.store(&self.images, scope, &image.target)
    }

    /// Runs a transfer under a lease of its own. What a failed one has stored is collected.
    pub(crate) fn under_lease<R>(
        &self,
        scope: &Scope,
        work: impl FnOnce(&Scope) -> Result<R, ImageError>,
    ) -> Result<R, ImageError> {
        let lease = self.begin_lease(scope)?;
        let result = work(&scope.with_lease(&lease));
        self.end_lease(scope, &lease, result.is_ok());
        result
    }

    pub(crate) fn begin_lease(&self, scope: &Scope) -> Result<String, ImageError> {
        let expiry = rfc3339(SystemTime::now() + LEASE_LIFE);
        let labels = Labels::from([
            ("containerd.io/gc.expire".into(), expiry),
            (LEASE_LABEL.into(), "running".into()),
        ]);
        Ok(self.leases.create(scope, "", labels)?.id)
    }

    pub(crate) fn end_lease(&self, scope: &Scope, lease: &str, is_success: bool) {
        let ended = self.leases.delete(scope, lease).and_then(|()| match is_success {
            true => {
                self.note_removal();
                Ok(())
            }
            false => self.collect().map(drop),
        });
        if let Err(error) = ended {
            tracing::warn!(lease, %error, "cannot end the lease of a transfer");
        }
    }

    /// Removes the layers that transfers of a dead daemon have left half-unpacked. What they fetched stays under their
    /// leases, for the next attempt.
    pub(crate) fn discard_unfinished_layers(&self) -> Result<(), ImageError> {
        let leases = self.database.read(|view| view.list_all(&LEASES))?;
        for (namespace, id, lease) in leases {
            let Ok(namespace) = namespace.parse() else { continue };
            if !lease.labels.contains_key(LEASE_LABEL) {
                continue;
            }
            let scope = Scope::new(namespace).with_lease(id);
            for resource in lease.resources.iter().filter(|resource| resource.kind == SNAPSHOTS) {
                let info = self.snapshots.stat(&scope, &resource.id);
                if info.is_ok_and(|info| info.kind == SnapshotKind::Active) {
                    tracing::info!(key = resource.id, "removing a half-unpacked layer");
                    self.snapshots.remove(&scope, &resource.id)?;
                }
            }
        }
        Ok(())
    }

    /// Labels every index and manifest below `root` with its children, and returns the manifests wanted.
    fn label_tree(
        &self,
        scope: &Scope,
        root: &Reference,
        destination: &Destination,
    ) -> Result<Vec<Reference>, ImageError> {
        let mut manifests = Vec::new();
        let mut left = vec![root.clone()];
        while let Some(node) = left.pop() {
            let children = self.label_children(scope, &node)?;
            match Role::of(&node.media_type) {
                Role::Index => {
                    let wanted = destination.select(children);
                    if wanted.is_empty() {
                        return Err(no_platform(destination, &node));
                    }
                    left.extend(wanted);
                }
                Role::Manifest => manifests.push(node),
                Role::Config | Role::Layer | Role::Other => {}
            }
        }
        Ok(manifests)
    }

    /// Labels an index or a manifest with its children and returns them.
    pub(crate) fn label_children(&self, scope: &Scope, node: &Reference) -> Result<Vec<Reference>, ImageError> {
        let children = oci::children(&self.content, scope, node)?;
        if !children.is_empty() {
            self.content
                .add_labels(scope, &node.digest, oci::child_labels(&children))?;
        }
        Ok(children)
    }

    fn unpack_all(
        &self,
        scope: &Scope,
        manifests: &[Reference],
        destination: &Destination,
        reporter: &Reporter,
    ) -> Result<(), ImageError> {
        for reference in manifests {
            let manifest: Manifest = oci::read(&self.content, scope, reference)?;
            // Every part must be there, whether it is unpacked or not.
            for part in std::iter::once(&manifest.config).chain(&manifest.layers) {
                self.content.info(scope, &part.digest)?;
            }
            if destination.unpacks.is_empty() {
                continue;
            }
            let config: Config = oci::read(&self.content, scope, &manifest.config)?;
            if destination.unpacks_platform(&config.platform) {
                unpack(self, scope, &manifest, &config, reporter, |_| Ok(()))?;
            }
        }
        Ok(())
    }
}

impl Destination {
    /// Refuses what no transfer into this store can do.
    pub fn check(&self) -> Result<(), ImageError> {
        for unpack in &self.unpacks {
            if !unpack.snapshotter.is_empty() && unpack.snapshotter != davit_snapshots::NAME {
                let text = format!(
                    "snapshotter {:?} is not offered, only {}",
                    unpack.snapshotter,
                    davit_snapshots::NAME
                );
                return Err(ImageError::Unsupported(text));
            }
        }
        Ok(())
    }

    /// Whether files for this platform are to be unpacked.
    pub(crate) fn unpacks_platform(&self, platform: &Platform) -> bool {
        self.unpacks
            .iter()
            .any(|unpack| unpack.platform.os.is_empty() || unpack.platform.matches(platform))
    }
}

pub(crate) fn no_platform(destination: &Destination, index: &Reference) -> ImageError {
    let wanted: Vec<String> = destination.platforms.iter().map(Platform::to_string).collect();
    ImageError::NoPlatform {
        wanted: wanted.join(", "),
        digest: index.digest.clone(),
    }
}

/// The label under which a blob notes the repositories it came from, and this repository. The port is left out, as at
/// containerd.
pub(crate) fn source_label(name: &Name) -> (String, String) {
    (
        format!("containerd.io/distribution.source.{}", name.host_name()),
        name.path().to_owned(),
    )
}
