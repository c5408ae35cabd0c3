//! The map of shims. How they come into it is told in [`create`], how they leave it in [`end`].

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use davit_vocabulary::{ContainerId, Namespace};
use tokio::sync::{Notify, mpsc::UnboundedSender};

use crate::{Death, Launcher, Role, Shim, TaskError};

pub(crate) mod create;
pub(crate) mod end;

type Key = (Namespace, ContainerId);

pub(crate) enum Slot {
    /// Being made.
    Coming,
    /// Being looked for: there was one before this daemon started.
    Returning(Role),
    /// Can be called.
    There(Arc<Shim>),
    /// Gone, but its end is not told yet: the id is free when it is, and the bundle removed.
    Going,
}

/// All tasks of this daemon.
pub struct Tasks {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) launcher: Launcher,
    slots: Mutex<HashMap<Key, Slot>>,
    /// Tasks that are being made, and were told to be made.
    told_creations: Mutex<HashSet<Key>>,
    /// Told when one that was looked for is there, or one that was there is not any more.
    settled: Notify,
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
            told_creations: Mutex::default(),
            settled: Notify::new(),
            deaths,
        })
    }

    /// The shim of a container; one that is being looked for is waited for.
    pub async fn find(&self, namespace: &Namespace, id: &str) -> Result<Arc<Shim>, TaskError> {
        let container: ContainerId = id.parse().map_err(|_| TaskError::NotFound(id.into()))?;
        self.has_returned(namespace, &container).await;
        self.get(namespace, id)
    }

    /// The shims of a namespace, and the containers whose shims are still being looked for after `patience`.
    pub async fn known(&self, namespace: &Namespace, patience: Duration) -> (Vec<Arc<Shim>>, Vec<ContainerId>) {
        let all_have = self.until(|slots| returning(slots, namespace).is_empty());
        // An error says that one is late.
        let _ = tokio::time::timeout(patience, all_have).await;
        // One look for both: who is found in between must not be in neither.
        let slots = self.slots();
        (there(&slots, namespace), returning(&slots, namespace))
    }

    /// How many shims of an earlier run are still being looked for.
    pub fn returning(&self) -> usize {
        let slots = self.slots();
        slots.values().filter(|slot| matches!(slot, Slot::Returning(_))).count()
    }

    /// Waits until the shim of a container is not looked for any more, if it is.
    pub async fn has_returned(&self, namespace: &Namespace, id: &ContainerId) {
        let key = (namespace.clone(), id.clone());
        self.until(|slots| !matches!(slots.get(&key), Some(Slot::Returning(_))))
            .await;
    }

    /// Waits until somebody else has taken down this shim.
    pub(crate) async fn is_taken_down(&self, shim: &Arc<Shim>) {
        let key = shim.key();
        self.until(|slots| !matches!(slots.get(&key), Some(Slot::There(held)) if Arc::ptr_eq(held, shim)))
            .await;
    }

    async fn until(&self, holds: impl Fn(&HashMap<Key, Slot>) -> bool) {
        loop {
            let mut settled = pin!(self.settled.notified());
            // Before the look: from now on it is told.
            settled.as_mut().enable();
            if holds(&self.slots()) {
                return;
            }
            settled.await;
        }
    }

    /// The shim of a container.
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<Arc<Shim>, TaskError> {
        let not_found = || TaskError::NotFound(id.into());
        let container: ContainerId = id.parse().map_err(|_| not_found())?;
        match self.slots().get(&(namespace.clone(), container)) {
            Some(Slot::There(shim)) => Ok(shim.clone()),
            Some(Slot::Coming | Slot::Returning(_) | Slot::Going) | None => Err(not_found()),
        }
    }

    /// Whether somebody is making this container's task, so that it is not there yet.
    pub fn is_coming(&self, namespace: &Namespace, id: &ContainerId) -> bool {
        matches!(self.slots().get(&(namespace.clone(), id.clone())), Some(Slot::Coming))
    }

    /// Whether this container's shim is still being looked for.
    pub fn is_returning(&self, namespace: &Namespace, id: &ContainerId) -> bool {
        matches!(
            self.slots().get(&(namespace.clone(), id.clone())),
            Some(Slot::Returning(_))
        )
    }

    /// To be called when a shim has told that this task was made: should it die before it answers, the task's end is told, too.
    pub fn creation_is_told(&self, namespace: &Namespace, id: &str) {
        if let Ok(id) = id.parse()
            && self.is_coming(namespace, &id)
        {
            self.told_creations().insert((namespace.clone(), id));
        }
    }

    pub(crate) fn told_creations(&self) -> MutexGuard<'_, HashSet<Key>> {
        self.told_creations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when a shim has told that this task was removed: until then the shim is not shut down.
    pub fn removal_is_told(&self, namespace: &Namespace, id: &str) {
        if let Ok(shim) = self.get(namespace, id)
            && shim.bundle.role == Role::Task
        {
            shim.removal_is_told();
        }
    }

    /// All shims of a namespace.
    pub fn list(&self, namespace: &Namespace) -> Vec<Arc<Shim>> {
        there(&self.slots(), namespace)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a shim in the map, for the one who takes it down.
    pub(crate) fn place(self: &Arc<Self>, shim: &Shim) -> Claim {
        Claim {
            tasks: self.clone(),
            key: Some(shim.key()),
        }
    }

    pub(crate) fn claim(self: &Arc<Self>, namespace: &Namespace, id: &ContainerId) -> Result<Claim, TaskError> {
        self.claim_as(Slot::Coming, namespace, id)
    }

    pub(crate) fn claim_as(
        self: &Arc<Self>,
        slot: Slot,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Result<Claim, TaskError> {
        let key = (namespace.clone(), id.clone());
        let mut slots = self.slots();
        if slots.contains_key(&key) {
            return Err(TaskError::Exists(id.to_string()));
        }
        slots.insert(key.clone(), slot);
        Ok(Claim {
            tasks: self.clone(),
            key: Some(key),
        })
    }
}

fn there(slots: &HashMap<Key, Slot>, namespace: &Namespace) -> Vec<Arc<Shim>> {
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

fn returning(slots: &HashMap<Key, Slot>, namespace: &Namespace) -> Vec<ContainerId> {
    let mut ids: Vec<_> = slots
        .iter()
        .filter(|((of, _), slot)| of == namespace && matches!(slot, Slot::Returning(Role::Task)))
        .map(|((_, id), _)| id.clone())
        .collect();
    ids.sort();
    ids
}

/// A place in the map, for a shim to come or one that goes; given up unless it is filled.
pub(crate) struct Claim {
    tasks: Arc<Tasks>,
    key: Option<Key>,
}

impl Claim {
    pub(crate) fn fill(mut self, shim: Arc<Shim>) {
        let key = self.key.take().expect("a claim is filled once");
        self.tasks.slots().insert(key, Slot::There(shim.clone()));
        self.tasks.settled.notify_waiters();
        if shim.bundle.role == Role::Sandbox {
            tokio::spawn(self.tasks.clone().tell_exit(shim.clone()));
        }
        tokio::spawn(self.tasks.clone().watch(shim));
    }

    /// Says that what was here is gone, although the place is not free yet.
    pub(crate) fn goes(&self) {
        if let Some(key) = &self.key {
            self.tasks.slots().insert(key.clone(), Slot::Going);
            self.tasks.settled.notify_waiters();
        }
    }
}

impl Shim {
    pub(crate) fn key(&self) -> Key {
        (self.bundle.namespace.clone(), self.bundle.id.clone())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.tasks.slots().remove(key);
            self.tasks.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
