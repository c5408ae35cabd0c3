//! How a task ends: removed by a client, or with a shim that has died.
//!
//! Its end is told once and for certain: by its shim or, where the shim has not told it, by this daemon. Until then the bundle
//! stays, so that the next daemon tells it if this one dies, and the id is taken.

use std::{io, path::Path, sync::Arc, time::SystemTime};

use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio::{
    net::UnixStream,
    sync::oneshot::{self, error::RecvError},
};

use super::{Claim, Tasks};
use crate::{
    Bundle, Exit, Role, Shim, TaskError,
    bootstrap::Endpoint,
    connection::{Connection, pauses, says_death},
};

/// The exit status of a task of which nobody can say how it ended, as containerd has it.
pub(crate) const UNKNOWN_EXIT: u32 = 255;

/// The end of a task that its shim has not told, or may not have told; or of a sandbox, which shims do not tell.
#[derive(Debug)]
pub struct Death {
    /// The namespace of the container.
    pub namespace: Namespace,
    /// The container, or the sandbox.
    pub id: ContainerId,
    /// Which of them.
    pub role: Role,
    /// The exit of its first process, or of a sandbox that may have none.
    pub exit: Exit,
    /// To be sent to once it is told.
    pub told: oneshot::Sender<()>,
}

impl Tasks {
    /// Removes an ended task, its shim and its bundle.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn delete(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<Exit, TaskError> {
        let shim = self.find(namespace, id).await?;
        if shim.bundle.role == Role::Sandbox {
            return Err(TaskError::OfSandbox(id.into()));
        }
        let tasks = self.clone();
        tokio::spawn(async move { tasks.delete_whole(shim).await })
            .await
            .expect("deleting a task does not panic")
    }

    async fn delete_whole(self: Arc<Self>, shim: Arc<Shim>) -> Result<Exit, TaskError> {
        let result = shim.delete("").await;
        let is_over = match &result {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        if !is_over {
            return result;
        }
        if shim.claim_end() {
            self.take_down(&shim, result.as_ref().ok()).await;
        } else {
            // Whoever is told that the task is gone may make the next one.
            self.is_taken_down(&shim).await;
        }
        result
    }

    /// Ends a shim whose task was removed, or was never there.
    async fn take_down(self: &Arc<Self>, shim: &Arc<Shim>, removed: Option<&Exit>) {
        let place = self.place(shim);
        let is_told = removed.is_none() || shim.told_removal().await;
        self.dismiss(shim).await;
        match removed {
            Some(exit) if !is_told => self.tell(&shim.bundle, exit, place).await,
            Some(_) => remove_bundle(&shim.bundle).await,
            None => {
                // A creation that was still under way, and is given up now, may have left something.
                self.clean_up(&shim.binary, &shim.bundle).await;
                remove_bundle(&shim.bundle).await;
            }
        }
        shim.gone(removed.cloned().unwrap_or_default());
    }

    /// Ends a shim that has no task. One that does not agree is cleaned up after as if it were dead.
    pub(crate) async fn dismiss(&self, shim: &Shim) {
        if let Err(error) = shim.shutdown().await {
            tracing::warn!(id = %shim.bundle.id, %error, "shim does not shut down");
            self.clean_up(&shim.binary, &shim.bundle).await;
        }
    }

    /// Waits for a shim's end, and cleans up after one that was not taken down.
    pub(super) async fn watch(self: Arc<Self>, shim: Arc<Shim>) {
        while let Ok(connection) = shim.connection() {
            tokio::select! {
                () = connection.closed() => {}
                // Its task was removed, while others of its group keep the shim.
                () = shim.is_gone() => return,
            }
            match self.reconnect(&shim).await {
                Some(connection) => shim.reconnected(connection),
                None => break,
            }
        }
        if shim.claim_end() {
            let exit = self.bury(&shim.binary, &shim.bundle, self.place(&shim)).await;
            shim.gone(exit);
        }
    }

    /// A new connection, unless the shim is dead.
    async fn reconnect(&self, shim: &Shim) -> Option<Connection> {
        for pause in pauses() {
            match open(&shim.bundle).await {
                Ok(connection) => return Some(connection),
                Err(error) if says_death(&error) => return None,
                Err(error) => tracing::warn!(id = %shim.bundle.id, %error, "shim cannot be reached"),
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("the pauses have no end")
    }

    /// Cleans up after a dead shim, and tells its task's death.
    pub(crate) async fn bury(&self, binary: &Path, bundle: &Bundle, place: Claim) -> Exit {
        let exit = self.clean_up(binary, bundle).await;
        tracing::info!(namespace = %bundle.namespace, id = %bundle.id, status = exit.status, "shim has died");
        self.tell(bundle, &exit, place).await;
        exit
    }

    /// Tells an end, and then removes the bundle and frees the place. Returns when that is done or, while it goes on, after a limit:
    /// the task is gone by then.
    async fn tell(&self, bundle: &Bundle, exit: &Exit, place: Claim) {
        let mut is_told = self.announce(bundle, exit);
        match tokio::time::timeout(self.launcher.timeouts.told, &mut is_told).await {
            Ok(told) => part(bundle, told, place).await,
            Err(_) => {
                place.goes();
                let bundle = bundle.clone();
                tokio::spawn(async move { part(&bundle, is_told.await, place).await });
            }
        }
    }

    /// Gives an end to those who tell it. What is returned says when they have.
    pub(crate) fn announce(&self, bundle: &Bundle, exit: &Exit) -> oneshot::Receiver<()> {
        let (told, is_told) = oneshot::channel();
        let death = Death {
            namespace: bundle.namespace.clone(),
            id: bundle.id.clone(),
            role: bundle.role,
            exit: exit.clone(),
            told,
        };
        // An error says that the daemon stops; then the other end is gone, too.
        let _ = self.deaths.send(death);
        is_told
    }

    /// Lets the shim's program clean up after a shim that is gone, and removes its socket.
    pub(crate) async fn clean_up(&self, binary: &Path, bundle: &Bundle) -> Exit {
        remove_dead_socket(bundle).await;
        match self.launcher.delete(binary, bundle).await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, %error, "clean up after shim");
                Exit {
                    pid: 0,
                    status: UNKNOWN_EXIT,
                    at: Some(SystemTime::now().into()),
                }
            }
        }
    }
}

/// Removes the bundle of a task whose end is told, and frees its place.
async fn part(bundle: &Bundle, told: Result<(), RecvError>, place: Claim) {
    match told {
        Ok(()) => remove_bundle(bundle).await,
        Err(_) => {
            tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, "bundle is kept: its task's end is not told");
        }
    }
    drop(place);
}

pub(crate) async fn remove_bundle(bundle: &Bundle) {
    let removed = bundle.clone();
    let result = tokio::task::spawn_blocking(move || removed.remove()).await;
    if let Err(error) = result.expect("removing a bundle does not panic") {
        tracing::error!(namespace = %bundle.namespace, id = %bundle.id, %error, "remove bundle");
    }
}

/// Connects to the shim of a bundle.
pub(crate) async fn open(bundle: &Bundle) -> io::Result<Connection> {
    Connection::open(&recorded(bundle).await?, &bundle.namespace).await
}

pub(crate) async fn recorded(bundle: &Bundle) -> io::Result<Endpoint> {
    let kept = tokio::fs::read(bundle.file("bootstrap.json")).await?;
    // Nobody will ever be found by a record that says nothing.
    Endpoint::parse(&kept).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}

/// A killed shim leaves its socket behind. One that still accepts belongs to a shim that holds other containers too.
async fn remove_dead_socket(bundle: &Bundle) {
    let Ok(path) = recorded(bundle).await.map(|endpoint| endpoint.socket()) else {
        return;
    };
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if path.is_absolute() && UnixStream::connect(&path).await.is_err_and(refused) {
        // An error says that it is gone already.
        let _ = tokio::fs::remove_file(&path).await;
    }
}
