//! `docker rmi`: which names go, and whether the image goes with them. The decision is a pure function; the rules and
//! the words are Docker's.

use davit_vocabulary::{ContainerId, Digest};

use crate::{
    Deleted, ImageError, ImageUse, Images, RemoveOptions, Result,
    catalog::{Catalog, CatalogImage},
    names::{self, Named},
    resolve::{Query, id_prefix},
};

pub(crate) async fn remove(
    images: &Images,
    text: &str,
    options: RemoveOptions,
    uses: &[ImageUse],
) -> Result<Vec<Deleted>> {
    let query = Query::parse(text)?;
    let catalog = Catalog::read(images).await?;
    let image = catalog.find(text, &query).ok_or_else(|| query.not_found())?;
    let meant = match &query {
        Query::Name(reference) if !is_id(text, image.id()) => Some(reference.store_name()),
        _ => None,
    };
    let plan = plan(image, text, meant.as_deref(), options.force, uses)?;
    execute(images, &catalog, image, plan, uses).await
}

/// Whether the text is (the beginning of) this id rather than a name.
fn is_id(text: &str, id: &Digest) -> bool {
    id_prefix(text).is_some_and(|digits| id.hex().starts_with(digits))
}

/// What a removal does.
#[derive(Debug, PartialEq)]
struct Plan {
    /// Stored names to take away, in order.
    names: Vec<String>,
    /// What becomes of the image when they are gone.
    fate: Fate,
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Fate {
    /// Other names remain.
    Named,
    /// No name remains, but a container needs it.
    Dangling,
    /// It goes.
    Deleted,
}

/// Decides. `meant` is the stored name that was asked for; without one the image was named by its id.
fn plan(image: &CatalogImage, text: &str, meant: Option<&str>, force: bool, uses: &[ImageUse]) -> Result<Plan> {
    let all = || image.names.iter().map(|named| named.name.clone()).collect();
    let uses: Vec<&ImageUse> = uses.iter().filter(|used| used.image == *image.id()).collect();
    let references: Vec<&Named> = image.names.iter().filter(|named| named.reference.is_some()).collect();
    let Some(meant) = meant else {
        check_use(image, &uses, force)?;
        if !force && !is_single(&references) {
            return Err(conflict(
                image,
                MUST,
                "image is referenced in multiple repositories".into(),
            ));
        }
        return Ok(Plan {
            names: all(),
            fate: Fate::Deleted,
        });
    };
    if !force
        && is_single(&references)
        && let Some(used) = uses.first()
    {
        return Err(ImageError::ReferenceInUse {
            reference: text.into(),
            container: short_container(&used.container),
            image: short(image.id()),
        });
    }
    let going = going_with(&references, meant);
    if going.len() < references.len() {
        return Ok(Plan {
            names: going,
            fate: Fate::Named,
        });
    }
    match check_use(image, &uses, force) {
        Ok(()) => Ok(Plan {
            names: all(),
            fate: Fate::Deleted,
        }),
        Err(_) => Ok(Plan {
            names: going,
            fate: Fate::Dangling,
        }),
    }
}

/// The name itself; and with the last tag of a repository also its digests.
fn going_with(references: &[&Named], meant: &str) -> Vec<String> {
    let mut going = vec![meant.to_owned()];
    let repository = |named: &Named| named.reference.as_ref().map(|reference| reference.name());
    let Some(named) = references.iter().find(|named| named.name == meant) else {
        return going;
    };
    let same_repository = |other: &&&Named| other.name != meant && repository(other) == repository(named);
    let has_other_tag = references.iter().filter(same_repository).any(|other| other.is_tag());
    if named.is_tag() && !has_other_tag {
        going.extend(
            references
                .iter()
                .filter(same_repository)
                .map(|other| other.name.clone()),
        );
    }
    going
}

/// At most one tag, and all digests of that tag's repository.
fn is_single(references: &[&Named]) -> bool {
    let mut repositories: Vec<String> = references
        .iter()
        .filter_map(|named| Some(named.reference.as_ref()?.name()))
        .collect();
    repositories.dedup();
    let tags = references.iter().filter(|named| named.is_tag()).count();
    tags <= 1 && repositories.len() <= 1
}

const MUST: &str = "must be forced";
const CANNOT: &str = "cannot be forced";

/// A running container keeps its image whatever is asked; a stopped one unless forced.
fn check_use(image: &CatalogImage, uses: &[&ImageUse], force: bool) -> Result<()> {
    let reason = |used: &ImageUse, state| {
        format!(
            "image is being used by {state} container {}",
            short_container(&used.container)
        )
    };
    if let Some(used) = uses.iter().find(|used| used.running) {
        return Err(conflict(image, CANNOT, reason(used, "running")));
    }
    match uses.first().filter(|_| !force) {
        Some(used) => Err(conflict(image, MUST, reason(used, "stopped"))),
        None => Ok(()),
    }
}

fn conflict(image: &CatalogImage, how: &'static str, reason: String) -> ImageError {
    ImageError::DeleteConflict {
        image: short(image.id()),
        how,
        reason,
    }
}

fn short(id: &Digest) -> String {
    id.hex()[..12].into()
}

fn short_container(id: &ContainerId) -> String {
    id.chars().take(12).collect()
}

async fn execute(
    images: &Images,
    catalog: &Catalog,
    image: &CatalogImage,
    plan: Plan,
    uses: &[ImageUse],
) -> Result<Vec<Deleted>> {
    let store = &images.inner.store;
    if plan.fate == Fate::Dangling {
        let kept = &image.names[0];
        names::set(store, &names::dangling(&kept.target), &kept.descriptor).await?;
    }
    let mut deleted = Vec::new();
    let mut remaining = plan.names.len();
    for name in &plan.names {
        remaining -= 1;
        // The last one waits until containerd has collected what only this image kept.
        let collect = remaining == 0 && plan.fate == Fate::Deleted;
        names::delete(store, name, collect).await?;
        let named = image.names.iter().find(|named| named.name == *name);
        if let Some(reference) = named.and_then(|named| named.reference.as_ref()) {
            deleted.push(Deleted::Untagged(reference.familiar()));
        }
    }
    if plan.fate == Fate::Deleted {
        deleted.push(Deleted::Deleted(image.id().clone()));
        if !uses.iter().any(|used| used.image == *image.id()) {
            deleted.extend(lost_layers(catalog, image).into_iter().map(Deleted::Deleted));
        }
    }
    Ok(deleted)
}

/// The layers of no other image, highest first.
fn lost_layers(catalog: &Catalog, image: &CatalogImage) -> Vec<Digest> {
    let others = || catalog.iter().filter(|other| other.id() != image.id());
    let is_shared = |chain_id: &Digest| others().any(|other| other.manifest.chain.contains(chain_id));
    image
        .manifest
        .chain
        .iter()
        .rev()
        .filter(|chain_id| !is_shared(chain_id))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
