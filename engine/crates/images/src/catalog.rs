//! All images at one moment: names grouped by image id.

use std::{collections::BTreeMap, sync::Arc};

use davit_vocabulary::Digest;

use crate::{
    Images, Reference, Result,
    manifest::Manifest,
    names::{self, Named},
    resolve::{Query, id_prefix},
};

/// An image and every name of it; there is at least one.
#[derive(Clone, Debug)]
pub(crate) struct CatalogImage {
    pub manifest: Arc<Manifest>,
    pub names: Vec<Named>,
}

impl CatalogImage {
    pub(crate) fn id(&self) -> &Digest {
        &self.manifest.config_digest
    }

    /// Familiar `name:tag`s, sorted.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.familiar(Named::is_tag)
    }

    /// Familiar `name@digest`s, sorted.
    pub(crate) fn digests(&self) -> Vec<String> {
        self.familiar(Named::is_digest)
    }

    fn familiar(&self, wanted: impl Fn(&Named) -> bool) -> Vec<String> {
        let names = self.names.iter().filter(|named| wanted(named));
        let mut familiar: Vec<String> = names
            .filter_map(|named| Some(named.reference.as_ref()?.familiar()))
            .collect();
        familiar.sort();
        familiar
    }
}

/// The images of the namespace.
pub(crate) struct Catalog {
    images: BTreeMap<Digest, CatalogImage>,
}

impl Catalog {
    /// Names whose content is not complete (a pull under way, another platform's index) are left out.
    pub(crate) async fn read(images: &Images) -> Result<Self> {
        let (store, manifests) = (&images.inner.store, &images.inner.manifests);
        let names = names::list(store, Vec::new()).await?;
        manifests.retain(|target| names.iter().any(|named| named.target == *target));
        let mut grouped = BTreeMap::new();
        for named in names {
            let manifest = match manifests.get(store, &named.target).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(name = named.name, %error, "an image cannot be read");
                    continue;
                }
            };
            let group = grouped.entry(manifest.config_digest.clone());
            group
                .or_insert_with(|| CatalogImage {
                    manifest,
                    names: Vec::new(),
                })
                .names
                .push(named);
        }
        Ok(Self { images: grouped })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &CatalogImage> {
        self.images.values()
    }

    /// By id, by name, by `name@digest` of any of the repository's names, or by the beginning of an id that fits one
    /// image only.
    pub(crate) fn find(&self, text: &str, query: &Query) -> Option<&CatalogImage> {
        let by_name = match query {
            Query::Id(id) => return self.images.get(id),
            Query::Name(reference) => self.by_name(reference),
        };
        by_name.or_else(|| {
            let digits = id_prefix(text)?;
            let mut fitting = self.images.iter().filter(|(id, _)| id.hex().starts_with(digits));
            let (_, first) = fitting.next()?;
            fitting.next().is_none().then_some(first)
        })
    }

    fn by_name(&self, reference: &Reference) -> Option<&CatalogImage> {
        let name = reference.store_name();
        let repository = reference.name();
        let is_meant = |named: &Named| {
            let same_content = || reference.digest() == Some(&named.target);
            let same_repository = || named.reference.as_ref().is_some_and(|it| it.name() == repository);
            named.name == name || (same_content() && same_repository())
        };
        self.images.values().find(|image| image.names.iter().any(is_meant))
    }
}
