//! Making snapshots of layers, where a Transfer did not: after an import, or when snapshots were lost.

use davit_containerd_api::{
    services::{
        content::v1::{Info, UpdateRequest},
        diff::v1::ApplyRequest,
        snapshots::v1::{CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest},
    },
    types::Descriptor,
};
use davit_vocabulary::Digest;

use crate::{
    Images, Result,
    content::{Labels, invalid},
    error::containerd,
    lease::Lease,
    manifest::{Layer, Manifest},
    store::Store,
    unique,
};

/// Unpacks what is missing, under a lease of its own.
pub(crate) async fn ensure(images: &Images, target: &Digest) -> Result<()> {
    let Some(manifest) = images.inner.manifests.get(&images.inner.store, target).await? else {
        return Err(invalid(target, "it is not in the content store"));
    };
    let lease = Lease::begin(&images.inner.store).await?;
    let unpacked = unpack(&lease.store(), &images.inner.settings.snapshotter, &manifest).await;
    lease.end().await;
    unpacked
}

/// Unpacks the layers that are not snapshots yet and makes the configuration keep them. To be called under a lease.
pub(crate) async fn unpack(store: &Store, snapshotter: &str, manifest: &Manifest) -> Result<()> {
    let Some(top) = manifest.chain.last() else {
        return Ok(());
    };
    if !is_there(store, snapshotter, top).await? {
        let mut parent = None;
        for (layer, chain_id) in manifest.layers.iter().zip(&manifest.chain) {
            if !is_there(store, snapshotter, chain_id).await? {
                apply(store, snapshotter, layer, parent, chain_id).await?;
            }
            parent = Some(chain_id);
        }
    }
    let label = (format!("containerd.io/gc.ref.snapshot.{snapshotter}"), top.to_string());
    set_label(store, &manifest.config_digest, label).await
}

async fn is_there(store: &Store, snapshotter: &str, chain_id: &Digest) -> Result<bool> {
    let request = StatSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: chain_id.to_string(),
    };
    match store
        .snapshots()
        .stat(request)
        .await
        .map_err(containerd("stat snapshot"))
    {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// One layer onto its parent. Somebody else doing the same at the same time is fine: the first to commit wins.
async fn apply(
    store: &Store,
    snapshotter: &str,
    layer: &Layer,
    parent: Option<&Digest>,
    chain_id: &Digest,
) -> Result<()> {
    let key = format!("extract-{} {chain_id}", unique::name());
    let outcome = apply_as(store, snapshotter, layer, parent, chain_id, &key).await;
    if outcome.is_err() {
        let request = RemoveSnapshotRequest {
            snapshotter: snapshotter.into(),
            key,
        };
        if let Err(status) = store.snapshots().remove(request).await {
            tracing::debug!(
                error = status.message(),
                "an unfinished snapshot is left to the garbage collection"
            );
        }
    }
    match outcome {
        Err(error) if error.is_already_exists() => Ok(()),
        other => other,
    }
}

async fn apply_as(
    store: &Store,
    snapshotter: &str,
    layer: &Layer,
    parent: Option<&Digest>,
    chain_id: &Digest,
    key: &str,
) -> Result<()> {
    let labels = Labels::from([("containerd.io/snapshot.ref".into(), chain_id.to_string())]);
    let request = PrepareSnapshotRequest {
        snapshotter: snapshotter.into(),
        key: key.into(),
        parent: parent.map(Digest::to_string).unwrap_or_default(),
        labels: labels.clone(),
    };
    let prepared = store
        .snapshots()
        .prepare(request)
        .await
        .map_err(containerd("prepare snapshot"))?;
    let diff = Descriptor {
        media_type: layer.media_type.clone(),
        digest: layer.digest.to_string(),
        size: layer.size,
        ..Default::default()
    };
    let mounts = prepared.into_inner().mounts;
    let request = ApplyRequest {
        diff: Some(diff),
        mounts,
        sync_fs: true,
        ..Default::default()
    };
    let applied = store
        .diff()
        .apply(request)
        .await
        .map_err(containerd("apply layer"))?
        .into_inner()
        .applied;
    let diff_id = applied.map(|applied| applied.digest).unwrap_or_default();
    if diff_id != layer.diff_id.as_str() {
        return Err(invalid(
            &layer.digest,
            format!("its uncompressed digest is {diff_id}, not {}", layer.diff_id),
        ));
    }
    let request = CommitSnapshotRequest {
        snapshotter: snapshotter.into(),
        name: chain_id.to_string(),
        key: key.into(),
        labels,
        ..Default::default()
    };
    store
        .snapshots()
        .commit(request)
        .await
        .map_err(containerd("commit snapshot"))?;
    let label = ("containerd.io/uncompressed".into(), layer.diff_id.to_string());
    set_label(store, &layer.digest, label).await
}

async fn set_label(store: &Store, digest: &Digest, (key, value): (String, String)) -> Result<()> {
    let update_mask = Some(prost_types::FieldMask {
        paths: vec![format!("labels.{key}")],
    });
    let info = Info {
        digest: digest.to_string(),
        labels: Labels::from([(key, value)]),
        ..Default::default()
    };
    let request = UpdateRequest {
        info: Some(info),
        update_mask,
    };
    store
        .content()
        .update(request)
        .await
        .map_err(containerd("update content"))?;
    Ok(())
}
