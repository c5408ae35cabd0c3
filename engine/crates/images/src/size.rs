//! How much room an image takes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use davit_containerd_api::services::snapshots::v1::UsageRequest;
use davit_vocabulary::Digest;
use futures::future;

use crate::{Images, Result, error::containerd, manifest::Manifest};

/// Bytes of committed snapshots. They never change.
#[derive(Default)]
pub(crate) struct Sizes {
    known: Mutex<HashMap<Digest, i64>>,
}

impl Images {
    /// The unpacked bytes of each layer, lowest first; the compressed bytes of one that is not unpacked.
    pub(crate) async fn layer_sizes(&self, manifest: &Manifest) -> Result<Vec<i64>> {
        let layers = manifest.layers.iter().zip(&manifest.chain);
        let sizes = layers.map(async |(layer, chain_id)| Ok(self.usage(chain_id).await?.unwrap_or(layer.size)));
        future::try_join_all(sizes).await
    }

    async fn usage(&self, chain_id: &Digest) -> Result<Option<i64>> {
        let lock = || self.inner.sizes.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(chain_id).copied();
        if known.is_some() {
            return Ok(known);
        }
        let snapshotter = self.inner.settings.snapshotter.clone();
        let request = UsageRequest {
            snapshotter,
            key: chain_id.to_string(),
        };
        match self
            .inner
            .store
            .snapshots()
            .usage(request)
            .await
            .map_err(containerd("snapshot usage"))
        {
            Ok(usage) => {
                let size = usage.into_inner().size;
                lock().insert(chain_id.clone(), size);
                Ok(Some(size))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
