//! Wire types of transfers into those of the stores.

use davit_containerd_api::types::{
    Platform as WirePlatform,
    transfer::{ImageExportStream, ImageReference, ImageStore, RegistryResolver, UnpackConfiguration},
};
use davit_images::{Destination, ExportWish, NameRule, Platform, Unpack};
use davit_registry::{Reference, Registry, RegistryError, Scheme};
use tonic::Status;

use crate::services::storage::{failed, labels};

/// The image store as a destination.
pub(super) fn destination(store: ImageStore) -> Destination {
    Destination {
        name: store.name,
        labels: labels(store.labels),
        platforms: store.platforms.into_iter().map(platform).collect(),
        all_metadata: store.all_metadata,
        manifest_limit: store.manifest_limit as usize,
        names: store.extra_references.into_iter().map(name_rule).collect(),
        unpacks: store.unpacks.into_iter().map(unpack).collect(),
    }
}

fn name_rule(wire: ImageReference) -> NameRule {
    NameRule {
        name: wire.name,
        is_prefix: wire.is_prefix,
        allow_overwrite: wire.allow_overwrite,
        add_digest: wire.add_digest,
        skip_named_digest: wire.skip_named_digest,
    }
}

fn unpack(wire: UnpackConfiguration) -> Unpack {
    Unpack {
        platform: wire.platform.map(platform).unwrap_or_default(),
        snapshotter: wire.snapshotter,
    }
}

fn platform(wire: WirePlatform) -> Platform {
    Platform {
        os: wire.os,
        architecture: wire.architecture,
        variant: wire.variant,
    }
}

/// What is to go into an archive.
pub(super) fn export_wish(store: ImageStore, archive: &ImageExportStream) -> Result<ExportWish, Status> {
    if archive.skip_non_distributable {
        let text = "leaving non-distributable layers out of an export is not offered: not implemented";
        return Err(Status::unimplemented(text));
    }
    let further = store.extra_references;
    if further.iter().any(|rule| rule.is_prefix) {
        return Err(Status::unimplemented(
            "prefix lookup on export is not offered: not implemented",
        ));
    }
    let names = std::iter::once(store.name).chain(further.into_iter().map(|rule| rule.name));
    Ok(ExportWish {
        names: names.filter(|name| !name.is_empty()).collect(),
        platforms: archive.platforms.iter().cloned().map(platform).collect(),
        all_platforms: archive.all_platforms,
        skip_docker_manifest: archive.skip_compatibility_manifest,
    })
}

/// The client that a resolver describes.
pub(super) fn registry(resolver: &RegistryResolver) -> Result<Registry, Status> {
    if !resolver.host_dir.is_empty() {
        return Err(Status::unimplemented(format!(
            "registry hosts directory {:?}: per-host configuration is not offered: not implemented",
            resolver.host_dir
        )));
    }
    let scheme = match resolver.default_scheme.as_str() {
        "" => Scheme::Default,
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => {
            let text = format!("default scheme {other:?} is neither http nor https: invalid argument");
            return Err(Status::invalid_argument(text));
        }
    };
    let headers: Vec<(String, String)> = resolver
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok(Registry::new(&headers).map_err(failed)?.with_scheme(scheme))
}

/// The name of an image at a registry.
pub(super) fn reference(text: &str) -> Result<Reference, Status> {
    text.parse().map_err(|error| failed(RegistryError::Reference(error)))
}
