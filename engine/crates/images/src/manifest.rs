//! From what a name points at to the configuration and the layers: parsed once per digest and kept, since a digest's
//! content never changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use davit_vocabulary::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{ImageConfig, Result, config::RootFs, content, platform, store::Store};

/// How deep an index may hold an index.
const DEEPEST: usize = 4;

/// An image's manifest for one platform, with its configuration.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Digest of the manifest itself.
    pub digest: Digest,
    /// Docker's image id.
    pub config_digest: Digest,
    pub config: Arc<ImageConfig>,
    /// Compressed layers, lowest first.
    pub layers: Vec<Layer>,
    /// One for each layer: the snapshot that it and all below it make.
    pub chain: Vec<Digest>,
}

/// A layer as the manifest names it.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub media_type: String,
    pub digest: Digest,
    pub size: i64,
    pub diff_id: Digest,
}

/// A descriptor in an index or a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    #[serde(default)]
    pub size: i64,
    pub platform: Option<platform::Described>,
}

/// An index has `manifests`, a manifest has `config` and `layers`.
#[derive(Debug, Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// What was parsed, by the digest that names point at.
#[derive(Default)]
pub(crate) struct Manifests {
    parsed: Mutex<HashMap<Digest, Arc<Manifest>>>,
}

impl Manifests {
    /// The manifest behind a name's target: this machine's platform of an index, or what there is of it.
    /// `None` where the content is not (or no longer) in the store.
    pub(crate) async fn get(&self, store: &Store, target: &Digest) -> Result<Option<Arc<Manifest>>> {
        let known = self.lock().get(target).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let Some(manifest) = find(store, target, 0).await? else {
            return Ok(None);
        };
        let manifest = Arc::new(manifest);
        self.lock().insert(target.clone(), manifest.clone());
        Ok(Some(manifest))
    }

    /// Forgets what is not among these targets any more.
    pub(crate) fn retain(&self, is_live: impl Fn(&Digest) -> bool) {
        self.lock().retain(|target, _| is_live(target));
    }

    /// Forgets one target: another platform of it may have come.
    pub(crate) fn forget(&self, target: &Digest) {
        self.lock().remove(target);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Manifest>>> {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn find(store: &Store, target: &Digest, depth: usize) -> Result<Option<Manifest>> {
    let Some(bytes) = read_if_there(store, target).await? else {
        return Ok(None);
    };
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| content::invalid(target, error))?;
    let Some(children) = document.manifests else {
        return complete(store, target, document).await;
    };
    if depth == DEEPEST {
        return Err(content::invalid(target, "indexes are nested too deep"));
    }
    for child in platform::by_preference(children) {
        if let Some(found) = Box::pin(find(store, &child.digest, depth + 1)).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn complete(store: &Store, digest: &Digest, document: Document) -> Result<Option<Manifest>> {
    let config_digest = document
        .config
        .ok_or_else(|| content::invalid(digest, "it has no configuration"))?
        .digest;
    let Some(bytes) = read_if_there(store, &config_digest).await? else {
        return Ok(None);
    };
    let config: ImageConfig =
        serde_json::from_slice(&bytes).map_err(|error| content::invalid(&config_digest, error))?;
    let diff_ids = diff_ids(&config.rootfs)?;
    if diff_ids.len() != document.layers.len() {
        let problem = format!("{} layers, but {} diff ids", document.layers.len(), diff_ids.len());
        return Err(content::invalid(digest, problem));
    }
    let chain = chain_ids(&diff_ids);
    let layers = document.layers.into_iter().zip(diff_ids).map(|(layer, diff_id)| Layer {
        media_type: layer.media_type,
        digest: layer.digest,
        size: layer.size,
        diff_id,
    });
    let layers = layers.collect();
    Ok(Some(Manifest {
        digest: digest.clone(),
        config_digest,
        config: Arc::new(config),
        layers,
        chain,
    }))
}

async fn read_if_there(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>> {
    match content::read(store, digest).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn diff_ids(rootfs: &RootFs) -> Result<Vec<Digest>> {
    rootfs.diff_ids.iter().map(|text| Ok(text.parse()?)).collect()
}

/// The image-spec's chain ids: the first diff id, then the hash of "the chain so far, a space, the next diff id".
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::sha256(Sha256::digest(format!("{below} {diff_id}")).into()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_hash_what_is_below_with_the_next_layer() {
        let layer = |c: &str| format!("sha256:{}", c.repeat(64)).parse::<Digest>().unwrap();
        let chain = chain_ids(&[layer("a"), layer("b"), layer("c")]);
        assert_eq!(chain[0], layer("a"));
        let by_hand = Digest::sha256(Sha256::digest(format!("{} {}", chain[1], layer("c"))).into());
        assert_eq!(chain[2], by_hand);
        assert!(chain_ids(&[]).is_empty());
    }
}
