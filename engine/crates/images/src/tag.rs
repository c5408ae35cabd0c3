//! `docker tag`.

use crate::{
    ImageError, Images, Reference, Result,
    names::{self, Named},
    resolve,
};

pub(crate) async fn tag(images: &Images, name_or_id: &str, target: &Reference) -> Result<()> {
    if target.digest().is_some() {
        return Err(ImageError::InvalidArgument(
            "refusing to create a tag with a digest reference".into(),
        ));
    }
    let source = resolve::resolve(images, name_or_id).await?;
    let store = &images.inner.store;
    let source = names::get(store, &source.name)
        .await?
        .ok_or_else(|| ImageError::NoSuchImage(name_or_id.into()))?;
    images.name(&source, &target.store_name()).await
}

impl Images {
    /// Points a name at an image that has another name already. Whatever had the name before keeps living; a dangling
    /// image is dangling no more.
    pub(crate) async fn name(&self, image: &Named, name: &str) -> Result<()> {
        let store = &self.inner.store;
        if let Some(before) = names::get(store, name).await?
            && before.target != image.target
        {
            self.keep_dangling(&before).await?;
        }
        names::set(store, name, &image.descriptor).await?;
        let dangling = names::dangling(&image.target);
        if dangling != name {
            names::delete(store, &dangling, false).await?;
        }
        Ok(())
    }
}
