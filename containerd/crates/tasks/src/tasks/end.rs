//! How a task ends: removed by a client, or with a shim that has died.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio::{net::UnixStream, sync::oneshot};

use super::Tasks;
use crate::{Bundle, Exit, Shim, TaskError, bootstrap::Endpoint, connection::Connection};

/// The exit status of a task of which nobody can say how it ended, as containerd has it.
pub(super) const UNKNOWN_EXIT: u32 = 255;
/// How often, and at what intervals, a shim whose connection broke is called again before it counts as dead. One whose socket
/// refuses is dead at once.
const RECONNECTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500)];

/// A task whose shim has died, after the cleaning up.
#[derive(Debug)]
pub struct Death {
    /// The namespace of the container.
    pub namespace: Namespace,
    /// The container.
    pub id: ContainerId,
    /// The exit of its first process.
    pub exit: Exit,
    /// To be sent to once it is told: until then the bundle stays, so that the next daemon tells it if this one dies.
    pub told: oneshot::Sender<()>,
}

impl Tasks {
    /// Removes an ended task, its shim and its bundle.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn delete(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<Exit, TaskError> {
        let shim = self.find(namespace, id).await?;
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
        if is_over && shim.claim_end() {
            if result.is_ok() {
                shim.told_removal().await;
            }
            self.dismiss(&shim).await;
            if result.is_err() {
                // A creation that was still under way, and is given up now, may have left something.
                self.clean_up(&shim.binary, &shim.bundle).await;
            }
            shim.gone(result.as_ref().ok().cloned().unwrap_or_default());
            remove_bundle(&shim.bundle).await;
            self.forget(&shim);
        }
        result
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
            connection.closed().await;
            match self.reconnect(&shim).await {
                Some(connection) => shim.reconnected(connection),
                None => break,
            }
        }
        if shim.claim_end() {
            let exit = self.bury(&shim.binary, &shim.bundle).await;
            shim.gone(exit);
            self.forget(&shim);
        }
    }

    async fn reconnect(&self, shim: &Shim) -> Option<Connection> {
        let endpoint = recorded(&shim.bundle).await?;
        for pause in RECONNECTS {
            tokio::time::sleep(pause).await;
            match Connection::open(&endpoint, &shim.bundle.namespace).await {
                Ok(connection) => return Some(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Cleans up after a dead shim, tells its task's death, and removes its bundle.
    pub(crate) async fn bury(&self, binary: &Path, bundle: &Bundle) -> Exit {
        let exit = self.clean_up(binary, bundle).await;
        tracing::info!(namespace = %bundle.namespace, id = %bundle.id, status = exit.status, "shim has died");
        let (told, is_told) = oneshot::channel();
        let death = Death {
            namespace: bundle.namespace.clone(),
            id: bundle.id.clone(),
            exit: exit.clone(),
            told,
        };
        // An error says that the daemon stops; then the other end is gone, too.
        let _ = self.deaths.send(death);
        match is_told.await {
            Ok(()) => remove_bundle(bundle).await,
            Err(_) => {
                tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, "bundle is kept: its task's end is not told");
            }
        }
        exit
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

pub(crate) async fn remove_bundle(bundle: &Bundle) {
    let removed = bundle.clone();
    let result = tokio::task::spawn_blocking(move || removed.remove()).await;
    if let Err(error) = result.expect("removing a bundle does not panic") {
        tracing::error!(namespace = %bundle.namespace, id = %bundle.id, %error, "remove bundle");
    }
}

async fn recorded(bundle: &Bundle) -> Option<Endpoint> {
    let kept = tokio::fs::read(bundle.file("bootstrap.json")).await.ok()?;
    Endpoint::parse(&kept).ok()
}

/// A killed shim leaves its socket behind. One that still accepts belongs to a shim that holds other containers too.
async fn remove_dead_socket(bundle: &Bundle) {
    let Some(path) = recorded(bundle).await.map(|endpoint| endpoint.socket()) else {
        return;
    };
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if path.is_absolute() && UnixStream::connect(&path).await.is_err_and(refused) {
        // An error says that it is gone already.
        let _ = tokio::fs::remove_file(&path).await;
    }
}
