//! Images that lose their last name.

use crate::{
    Images, Result,
    names::{self, Named},
};

impl Images {
    /// Gives the image of a name that is about to move or go a dangling name, unless another name keeps it. Returns the
    /// name that was made.
    pub(crate) async fn keep_dangling(&self, going: &Named) -> Result<Option<String>> {
        let store = &self.inner.store;
        let same_target = names::list(store, vec![format!("target.digest=={}", going.target)]).await?;
        if same_target
            .iter()
            .any(|named| named.target == going.target && named.name != going.name)
        {
            return Ok(None);
        }
        let name = names::dangling(&going.target);
        names::set(store, &name, &going.descriptor).await?;
        Ok(Some(name))
    }
}
