//! `docker import`: a root file system becomes an image of one layer.
//!
//! The bytes go to containerd as they come, a gzip one compressed; the digests of the blob and of what is inside are
//! computed on the way by a thread of its own. Nothing holds more than a few chunks.

use std::io;

use bytes::{Bytes, BytesMut};
use davit_containerd_api::types::Descriptor;
use davit_vocabulary::Digest;
use futures::{Stream, StreamExt};
use jiff::Timestamp;

use crate::{
    ImageConfig, ImageError, Images, Import, Platform, Result, changes,
    config::{History, RootFs},
    content::{self, Labels, Writer},
    error,
    hasher::{self, Hashed, Hasher},
    lease::Lease,
    names, unique, unpack, upload,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Bytes for one message: far fewer round trips than the client's chunks, far below the limit of a message.
const BATCH: usize = 1 << 20;

pub(crate) async fn import(
    images: &Images,
    archive: impl Stream<Item = io::Result<Bytes>> + Send,
    import: Import,
) -> Result<Digest> {
    let mut archive = std::pin::pin!(archive.fuse());
    let imported = import_leased(images, archive.as_mut(), import).await;
    if imported.is_err() {
        upload::drain(archive).await;
    }
    imported
}

async fn import_leased(
    images: &Images,
    archive: impl Stream<Item = io::Result<Bytes>> + Send,
    import: Import,
) -> Result<Digest> {
    let mut config = ImageConfig::default();
    changes::apply(&mut config.config, &import.changes)?;
    let lease = Lease::begin(&images.inner.store).await?;
    let imported = import_under(images, &lease, archive, import, config).await;
    lease.end().await;
    imported
}

async fn import_under(
    images: &Images,
    lease: &Lease,
    archive: impl Stream<Item = io::Result<Bytes>> + Send,
    import: Import,
    config: ImageConfig,
) -> Result<Digest> {
    let store = lease.store();
    let layer = write_layer(&store, archive).await?;
    let config = describe(config, &import, &layer);
    let config_json = serde_json::to_vec(&config).expect("a configuration is plain data");
    let config_size = config_json.len();
    let id = content::write(&store, config_json, Labels::new()).await?;
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": CONFIG, "digest": id, "size": config_size },
        "layers": [{ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size }],
    });
    let manifest = manifest.to_string().into_bytes();
    let size = manifest.len() as i64;
    let kept = Labels::from([
        ("containerd.io/gc.ref.content.config".into(), id.to_string()),
        ("containerd.io/gc.ref.content.l.0".into(), layer.digest.to_string()),
    ]);
    let target = content::write(&store, manifest, kept).await?;
    let parsed = images.inner.manifests.get(&store, &target).await?;
    let parsed = parsed.ok_or_else(|| content::invalid(&target, "it vanished while it was made"))?;
    unpack::unpack(&store, &images.inner.settings.snapshotter, &parsed)
        .await
        .map_err(not_an_archive)?;
    let descriptor = Descriptor {
        media_type: MANIFEST.into(),
        digest: target.to_string(),
        size,
        ..Default::default()
    };
    name(images, import, descriptor, &target).await?;
    Ok(id)
}

/// Gives the new image its name, or the dangling one.
async fn name(images: &Images, import: Import, descriptor: Descriptor, target: &Digest) -> Result<()> {
    let store = &images.inner.store;
    let Some(reference) = import.reference else {
        return names::set(store, &names::dangling(target), &descriptor).await;
    };
    let name = reference.store_name();
    if let Some(before) = names::get(store, &name).await?
        && before.target != *target
    {
        images.keep_dangling(&before).await?;
    }
    names::set(store, &name, &descriptor).await
}

/// What does not unpack is the client's fault here: nobody has looked into its archive before.
fn not_an_archive(error: ImageError) -> ImageError {
    match error {
        ImageError::Containerd {
            call: "apply layer",
            status,
        } => error::archive(status.message()),
        other => other,
    }
}

/// A written layer.
struct Written {
    media_type: &'static str,
    digest: Digest,
    diff_id: Digest,
    size: i64,
}

async fn write_layer(
    store: &crate::store::Store,
    archive: impl Stream<Item = io::Result<Bytes>> + Send,
) -> Result<Written> {
    let mut archive = std::pin::pin!(archive);
    let reference = format!("davit-import-{}", unique::name());
    let mut writer = Writer::open(store, reference, None)
        .await?
        .expect("nothing is expected, so nothing exists");
    let mut hasher: Option<Hasher> = None;
    let mut batch = BytesMut::new();
    loop {
        let chunk = archive.next().await.transpose().map_err(ImageError::Archive)?;
        let is_end = chunk.is_none();
        batch.extend_from_slice(&chunk.unwrap_or_default());
        if batch.is_empty() || (!is_end && batch.len() < BATCH) {
            if is_end {
                break;
            }
            continue;
        }
        let bytes = batch.split().freeze();
        let hasher = match &mut hasher {
            Some(hasher) => hasher,
            None => hasher.insert(Hasher::start(hasher::detect(&bytes)?)),
        };
        hasher.add(bytes.clone()).await;
        writer.append(bytes).await?;
    }
    let Some(hasher) = hasher else {
        return Err(ImageError::EmptyArchive);
    };
    let compression = hasher.compression();
    let Hashed { digest, diff_id, size } = hasher.finish().await?;
    let labels = Labels::from([("containerd.io/uncompressed".into(), diff_id.to_string())]);
    writer.commit(&digest, size, labels).await?;
    Ok(Written {
        media_type: compression.media_type(),
        digest,
        diff_id,
        size,
    })
}

fn describe(config: ImageConfig, import: &Import, layer: &Written) -> ImageConfig {
    let platform = import.platform.clone().unwrap_or_else(Platform::host);
    let now = Some(Timestamp::now().to_string());
    let comment = match import.message.is_empty() {
        true => "Imported from -".into(),
        false => import.message.clone(),
    };
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        created: now.clone(),
        comment: comment.clone(),
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: vec![layer.diff_id.to_string()],
        },
        history: vec![History {
            created: now,
            comment,
            ..Default::default()
        }],
        ..config
    }
}
