//! The end of a container.

use std::{fs, io, sync::PoisonError};

use tracing::{info, warn};

use super::{Actor, Result};
use crate::{
    error::ContainerError,
    record::{Change, Status},
};

impl Actor {
    /// Removes for a user.
    pub(super) async fn remove(&mut self) -> Result<()> {
        match self.record.state.status {
            Status::Running => return Err(ContainerError::RemoveRunning(self.record.name.clone())),
            // A removal that failed before may be tried again.
            Status::Removing | Status::Created | Status::Exited | Status::Restarting => {}
        }
        self.restart_at = None;
        // One durable commit, the deletion: until then a crash leaves the container as it was, or without its layer, and
        // the removal can be asked for again.
        self.record.state.transition(Change::RemovalAsked);
        self.show();
        self.delete_everything().await?;
        self.gone();
        Ok(())
    }

    /// Removes because it was made with `--rm`. What fails is tried again when the engine starts.
    pub(super) async fn remove_all(&mut self) {
        if let Err(error) = self.delete_everything().await {
            warn!(container = %self.record.id, %error, "a container cannot be removed");
            self.persist_or_warn().await;
            self.show();
            return;
        }
        self.gone();
    }

    async fn delete_everything(&self) -> Result<()> {
        let id = &self.record.id;
        let (layer, ()) = tokio::join!(self.context.containerd.remove_snapshot(id), self.delete_folder());
        layer?;
        self.context.store.delete(id).await
    }

    async fn delete_folder(&self) {
        let folder = self.context.paths.container(&self.record.id);
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(container = %self.record.id, %error, "a container's folder cannot be removed");
        }
    }

    fn gone(&mut self) {
        self.removed = true;
        info!(container = %self.record.id, name = %self.record.name, "removed");
        let mut index = self.context.index.write().unwrap_or_else(PoisonError::into_inner);
        index.remove(&self.record.id);
        drop(index);
        self.publish("destroy", &[]);
        let record = std::sync::Arc::new(self.record.clone());
        self.view.send_modify(|view| {
            view.record = record;
            view.removed = true;
        });
    }
}
