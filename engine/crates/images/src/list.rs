//! `docker images`, and what `docker image inspect` adds.

use jiff::Timestamp;

use crate::{
    ImageDetails, ImageError, ImageSummary, Images, ListFilters, Reference, Result,
    catalog::{Catalog, CatalogImage},
    glob,
    resolve::Query,
};

pub(crate) async fn list(images: &Images, filters: &ListFilters) -> Result<Vec<ImageSummary>> {
    let catalog = Catalog::read(images).await?;
    let before = bound(&catalog, filters.before.as_deref())?;
    let since = bound(&catalog, filters.since.as_deref())?;
    let mut lines = Vec::new();
    for image in catalog.iter() {
        let created = created(image);
        let is_in_time = before.is_none_or(|before| created < before) && since.is_none_or(|since| created > since);
        if !is_in_time || !has_labels(image, &filters.labels) {
            continue;
        }
        let Some(image) = matching(image, &filters.references) else {
            continue;
        };
        let is_dangling = image.tags().is_empty();
        if filters.dangling.is_some_and(|wanted| wanted != is_dangling) {
            continue;
        }
        lines.push(summary(images, &image).await?);
    }
    lines.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(lines)
}

pub(crate) async fn inspect(images: &Images, name_or_id: &str) -> Result<ImageDetails> {
    let query = Query::parse(name_or_id)?;
    let catalog = Catalog::read(images).await?;
    let image = catalog.find(name_or_id, &query).ok_or_else(|| query.not_found())?;
    Ok(ImageDetails {
        summary: summary(images, image).await?,
        config: image.manifest.config.clone(),
        last_tagged: image
            .names
            .iter()
            .filter(|named| named.is_tag())
            .filter_map(|named| named.updated)
            .max(),
        snapshotter: images.inner.settings.snapshotter.clone(),
    })
}

async fn summary(images: &Images, image: &CatalogImage) -> Result<ImageSummary> {
    // A size may be a registry's claim.
    let sizes = images.layer_sizes(&image.manifest).await?;
    Ok(ImageSummary {
        id: image.id().clone(),
        repo_tags: image.tags(),
        repo_digests: image.digests(),
        created: created(image),
        size: sizes.into_iter().fold(0, i64::saturating_add),
        labels: image.manifest.config.config.labels.clone().unwrap_or_default(),
    })
}

/// When the image was made; the epoch where its configuration does not say.
fn created(image: &CatalogImage) -> Timestamp {
    parse_time(image.manifest.config.created.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// RFC 3339 as in a configuration; `None` for nothing and for what is no time.
pub(crate) fn parse_time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

fn bound(catalog: &Catalog, name_or_id: Option<&str>) -> Result<Option<Timestamp>> {
    let Some(text) = name_or_id else { return Ok(None) };
    let query = Query::parse(text)?;
    let image = catalog.find(text, &query).ok_or_else(|| query.not_found())?;
    Ok(Some(created(image)))
}

fn has_labels(image: &CatalogImage, wanted: &[String]) -> bool {
    let labels = image.manifest.config.config.labels.as_ref();
    wanted.iter().all(|label| {
        let (key, value) = label
            .split_once('=')
            .map_or((label.as_str(), None), |(key, value)| (key, Some(value)));
        let found = labels.and_then(|labels| labels.get(key));
        found.is_some_and(|found| value.is_none_or(|value| value == found))
    })
}

/// The image with the names that match one of the patterns; `None` where none does.
fn matching(image: &CatalogImage, patterns: &[String]) -> Option<CatalogImage> {
    if patterns.is_empty() {
        return Some(image.clone());
    }
    let is_meant = |reference: &Reference| {
        let forms = [reference.familiar(), reference.familiar_name()];
        patterns
            .iter()
            .any(|pattern| forms.iter().any(|form| glob::matches(pattern, form)))
    };
    let mut image = image.clone();
    image
        .names
        .retain(|named| named.reference.as_ref().is_some_and(is_meant));
    (!image.names.is_empty()).then_some(image)
}

/// Refuses patterns that could never match anything because they are malformed.
pub(crate) fn check_patterns(patterns: &[String]) -> Result<()> {
    match patterns.iter().find(|pattern| !glob::is_valid(pattern)) {
        Some(pattern) => Err(ImageError::InvalidArgument(format!(
            "invalid filter 'reference={pattern}'"
        ))),
        None => Ok(()),
    }
}
