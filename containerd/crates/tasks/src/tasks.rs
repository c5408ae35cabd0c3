//! The map of shims. How they come into it is told in [`create`], how they leave it in [`end`].

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use davit_vocabulary::{ContainerId, Namespace};
use tokio::sync::mpsc::UnboundedSender;

use crate::{Death, Launcher, Shim, TaskError};

pub(crate) mod create;
pub(crate) mod end;

type Key = (Namespace, ContainerId);

enum Slot {
    /// Being made.
    Coming,
    /// Can be called.
    There(Arc<Shim>),
}

/// All tasks of this daemon.
pub struct Tasks {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) launcher: Launcher,
    slots: Mutex<HashMap<Key, Slot>>,
    deaths: UnboundedSender<Death>,
}

impl Tasks {
    /// No tasks yet; call [`Tasks::restore`] for those of an earlier run. The tasks of shims that die are told to `deaths`.
    pub fn new(root: PathBuf, state: PathBuf, launcher: Launcher, deaths: UnboundedSender<Death>) -> Arc<Self> {
        Arc::new(Self {
            root,
            state,
            launcher,
            slots: Mutex::default(),
            deaths,
        })
    }

    /// The shim of a container.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<Arc<Shim>, TaskError> {
        let not_found = || TaskError::NotFound(id.into());
        let container: ContainerId = id.parse().map_err(|_| not_found())?;
        match self.slots().get(&(namespace.clone(), container)) {
            Some(Slot::There(shim)) => Ok(shim.clone()),
            Some(Slot::Coming) | None => Err(not_found()),
        }
    }

    /// Whether somebody is making this container's task, so that it is not there yet.
    pub fn is_coming(&self, namespace: &Namespace, id: &ContainerId) -> bool {
        matches!(self.slots().get(&(namespace.clone(), id.clone())), Some(Slot::Coming))
    }

    /// To be called when a shim has told that this task was removed: until then the shim is not shut down.
    pub fn removal_is_told(&self, namespace: &Namespace, id: &str) {
        if let Ok(shim) = self.get(namespace, id) {
            shim.removal_is_told();
        }
    }

    /// All shims of a namespace.
    pub fn list(&self, namespace: &Namespace) -> Vec<Arc<Shim>> {
        let slots = self.slots();
        let mut shims: Vec<_> = slots
            .iter()
            .filter_map(|((of, _), slot)| match slot {
                Slot::There(shim) if of == namespace => Some(shim.clone()),
                _ => None,
            })
            .collect();
        shims.sort_by(|a, b| a.bundle.id.cmp(&b.bundle.id));
        shims
    }

    /// Puts a shim that was found into the map.
    pub(crate) fn adopt(self: &Arc<Self>, shim: Arc<Shim>) {
        if let Ok(claim) = self.claim(&shim.bundle.namespace, &shim.bundle.id) {
            claim.fill(shim);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, shim: &Shim) {
        self.slots()
            .remove(&(shim.bundle.namespace.clone(), shim.bundle.id.clone()));
    }

    fn claim(self: &Arc<Self>, namespace: &Namespace, id: &ContainerId) -> Result<Claim, TaskError> {
        let key = (namespace.clone(), id.clone());
        let mut slots = self.slots();
        if slots.contains_key(&key) {
            return Err(TaskError::Exists(id.to_string()));
        }
        slots.insert(key.clone(), Slot::Coming);
        Ok(Claim {
            tasks: self.clone(),
            key: Some(key),
        })
    }
}

/// A place in the map for a shim to come; given up unless it is filled.
struct Claim {
    tasks: Arc<Tasks>,
    key: Option<Key>,
}

impl Claim {
    fn fill(mut self, shim: Arc<Shim>) {
        let key = self.key.take().expect("a claim is filled once");
        self.tasks.slots().insert(key, Slot::There(shim.clone()));
        tokio::spawn(self.tasks.clone().watch(shim));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.tasks.slots().remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
