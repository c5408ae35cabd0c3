//! Layers to snapshots: each layer of a manifest is applied over the one before and committed under its chain ID.

use std::{
    fs::File,
    io::{self, Read},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use davit_archive::{Compression, Target};
use davit_metadata::{Labels, Scope};
use davit_snapshots::{Mount, NAME, Preparation, SnapshotError};
use davit_vocabulary::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    ImageError, Reporter, Storage,
    oci::{Config, Manifest, Reference},
};

/// How often a client hears of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// The label of a committed snapshot that names it.
const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
/// Annotations of a layer that its snapshot inherits.
const INHERITED: &str = "containerd.io/snapshot/";
/// The label of a compressed layer that names its plain archive.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// The chain ID of a layer on top of a chain (OCI image-spec, "Layer ChainID").
pub fn chain_id(below: Option<&Digest>, diff_id: &Digest) -> Digest {
    match below {
        None => diff_id.clone(),
        Some(below) => Digest::sha256(Sha256::digest(format!("{below} {diff_id}")).into()),
    }
}

/// Unpacks the layers of `manifest`, the lowest first; `ready` waits until a layer's blob is here.
///
/// Layers whose snapshot exists already are not applied again. On failure the layers finished so far stay, as they are
/// whole and verified, and nothing of the failed one is left.
pub fn unpack(
    storage: &Storage,
    scope: &Scope,
    manifest: &Manifest,
    config: &Config,
    reporter: &Reporter,
    mut ready: impl FnMut(usize) -> Result<(), ImageError>,
) -> Result<Option<Digest>, ImageError> {
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() {
        return Err(ImageError::Document {
            digest: manifest.config.digest.clone(),
            problem: format!(
                "{} layers in the manifest but {} diff ids",
                manifest.layers.len(),
                diff_ids.len()
            ),
        });
    }
    let mut chain: Option<Digest> = None;
    for (index, (layer, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
        ready(index)?;
        let name = chain_id(chain.as_ref(), diff_id);
        let work = LayerWork {
            storage,
            scope,
            layer,
            diff_id,
            below: chain.as_ref(),
            name: &name,
        };
        work.run(reporter)?;
        chain = Some(name);
    }
    if let Some(top) = &chain {
        let label = format!("containerd.io/gc.ref.snapshot.{NAME}");
        let labels = Labels::from([(label, top.to_string())]);
        storage.content.add_labels(scope, &manifest.config.digest, labels)?;
    }
    Ok(chain)
}

struct LayerWork<'a> {
    storage: &'a Storage,
    scope: &'a Scope,
    layer: &'a Reference,
    diff_id: &'a Digest,
    below: Option<&'a Digest>,
    name: &'a Digest,
}

impl LayerWork<'_> {
    fn run(&self, reporter: &Reporter) -> Result<(), ImageError> {
        Compression::check_media_type(&self.layer.media_type)?;
        let key = extraction_key(self.name);
        let preparation = Preparation {
            key: key.clone(),
            parent: self.below.map(Digest::to_string).unwrap_or_default(),
            labels: self.labels(),
        };
        let mounts = match self.storage.snapshots.prepare(self.scope, preparation) {
            Err(SnapshotError::TargetExists(_)) => return Ok(()),
            other => other?,
        };
        let done = self.apply(&mounts, reporter).and_then(|()| self.commit(&key));
        if done.is_err() {
            self.discard(&key);
        }
        done?;
        reporter.blob("extracted", self.layer, &[], self.layer.size);
        let labels = Labels::from([(UNCOMPRESSED.into(), self.diff_id.to_string())]);
        Ok(self
            .storage
            .content
            .add_labels(self.scope, &self.layer.digest, labels)?)
    }

    fn apply(&self, mounts: &[Mount], reporter: &Reporter) -> Result<(), ImageError> {
        let target = Mount::layer(mounts).expect("an active overlay snapshot is one writable directory");
        let target = Target {
            upper: target.upper,
            lower: target.lower,
            is_overlay: target.is_overlay,
        };
        let reader = self.storage.content.reader(self.scope, &self.layer.digest)?;
        let blob = Watched {
            blob: reader.into_file(),
            layer: self.layer,
            reporter,
            position: 0,
            reported: None,
        };
        let applied = davit_archive::apply(blob, &target)?;
        if applied.diff_id != *self.diff_id {
            return Err(ImageError::DiffId {
                found: applied.diff_id,
                expected: self.diff_id.clone(),
            });
        }
        Ok(())
    }

    fn commit(&self, key: &str) -> Result<(), ImageError> {
        let name = self.name.as_str();
        match self.storage.snapshots.commit(self.scope, key, name, "", self.labels()) {
            // Another transfer was faster.
            Err(SnapshotError::Exists(_)) => {
                self.discard(key);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn discard(&self, key: &str) {
        if let Err(error) = self.storage.snapshots.remove(self.scope, key) {
            tracing::warn!(key, %error, "cannot remove an unfinished layer");
        }
    }

    fn labels(&self) -> Labels {
        let annotations = self.layer.annotations.iter();
        let mut labels: Labels = annotations
            .filter(|(key, _)| key.starts_with(INHERITED))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        labels.insert(SNAPSHOT_REF.into(), self.name.to_string());
        labels
    }
}

/// A layer's blob that tells how far it was read.
struct Watched<'a> {
    blob: File,
    layer: &'a Reference,
    reporter: &'a Reporter,
    position: u64,
    reported: Option<Instant>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            self.reporter.blob("extracting", self.layer, &[], self.position);
        }
        let count = self.blob.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// A key that no other extraction has, in containerd's form.
fn extraction_key(name: &Digest) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("extract-{}-{count:04x} {name}", now.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_hash_the_chain_below() {
        let digest = |n: u8| Digest::sha256([n; 32]);
        assert_eq!(chain_id(None, &digest(1)), digest(1));
        let expected = Sha256::digest(format!("{} {}", digest(1), digest(2)));
        assert_eq!(chain_id(Some(&digest(1)), &digest(2)), Digest::sha256(expected.into()));
    }
}
