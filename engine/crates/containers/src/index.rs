//! All containers by id and by name, in memory. A name is reserved here before a container has it.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use davit_vocabulary::ContainerId;

use crate::{container::Container, error::ContainerError};

/// Who is who.
#[derive(Debug, Default)]
pub(crate) struct Index {
    containers: BTreeMap<ContainerId, Arc<Container>>,
    names: BTreeMap<String, ContainerId>,
}

impl Index {
    /// Takes a name for a container that is about to be made or renamed.
    pub fn reserve(&mut self, name: &str, id: &ContainerId) -> Result<(), ContainerError> {
        if let Some(holder) = self.names.get(name) {
            return Err(ContainerError::NameInUse {
                name: name.into(),
                holder: holder.to_string(),
            });
        }
        self.names.insert(name.into(), id.clone());
        Ok(())
    }

    /// Gives a name back, if it is this container's.
    pub fn release(&mut self, name: &str, id: &ContainerId) {
        if self.names.get(name) == Some(id) {
            self.names.remove(name);
        }
    }

    /// Adds a container whose name is reserved.
    pub fn insert(&mut self, container: Arc<Container>) {
        self.containers.insert(container.id.clone(), container);
    }

    /// Forgets a container and its name.
    pub fn remove(&mut self, id: &ContainerId) {
        self.containers.remove(id);
        self.names.retain(|_, holder| holder != id);
    }

    /// A container by its full id.
    pub fn by_id(&self, id: &str) -> Option<Arc<Container>> {
        self.containers.get(id).cloned()
    }

    /// A container by id, name, or a beginning of its id that fits no other; in this order.
    pub fn find(&self, wanted: &str) -> Result<Arc<Container>, ContainerError> {
        let missing = || ContainerError::NoSuchContainer(wanted.into());
        if let Some(container) = self.by_id(wanted) {
            return Ok(container);
        }
        let name = wanted.strip_prefix('/').unwrap_or(wanted);
        if let Some(container) = self.names.get(name).and_then(|id| self.by_id(id)) {
            return Ok(container);
        }
        if wanted.is_empty() {
            return Err(missing());
        }
        let from = self
            .containers
            .range::<str, _>((Bound::Included(wanted), Bound::Unbounded));
        let mut fits = from
            .take_while(|(id, _)| id.starts_with(wanted))
            .map(|(_, container)| container);
        match (fits.next(), fits.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(_), Some(_)) => Err(ContainerError::Ambiguous(wanted.into())),
            (None, _) => Err(missing()),
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.containers.values().cloned().collect()
    }
}
