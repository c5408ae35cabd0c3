//! From what a user types to an image.

use std::sync::Arc;

use davit_vocabulary::Digest;

use crate::{
    ImageError, Images, Reference, ResolvedImage, Result,
    catalog::Catalog,
    manifest::Manifest,
    names::{self, Named},
};

/// What a text can mean, in the order in which it is tried.
pub(crate) enum Query {
    /// A whole id.
    Id(Digest),
    /// A name, or the beginning of an id.
    Name(Reference),
}

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if let Ok(id) = format!("sha256:{text}").parse() {
            return Ok(Self::Id(id));
        }
        Ok(Self::Name(text.parse()?))
    }

    /// Docker's complaint about an image that is not there.
    pub(crate) fn not_found(&self) -> ImageError {
        ImageError::NoSuchImage(match self {
            Self::Id(id) => id.to_string(),
            Self::Name(name) => name.clone().or_latest().familiar(),
        })
    }
}

/// The digits of what may be the beginning of an id.
pub(crate) fn id_prefix(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hex = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (!digits.is_empty() && digits.len() <= 64 && is_hex).then_some(digits)
}

pub(crate) async fn resolve(images: &Images, text: &str) -> Result<ResolvedImage> {
    let query = Query::parse(text)?;
    if let Query::Name(reference) = &query
        && let Some(named) = names::get(&images.inner.store, &reference.store_name()).await?
        && let Some(manifest) = images.inner.manifests.get(&images.inner.store, &named.target).await?
    {
        return Ok(resolved(&named, &manifest));
    }
    let catalog = Catalog::read(images).await?;
    let image = catalog.find(text, &query).ok_or_else(|| query.not_found())?;
    Ok(resolved(&image.names[0], &image.manifest))
}

fn resolved(named: &Named, manifest: &Arc<Manifest>) -> ResolvedImage {
    ResolvedImage {
        id: manifest.config_digest.clone(),
        name: named.name.clone(),
        target: named.target.clone(),
        manifest: manifest.digest.clone(),
        config: manifest.config.clone(),
        chain_id: manifest.chain.last().cloned(),
    }
}
