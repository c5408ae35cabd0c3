//! How a task ends: removed by a client, or with a shim that has died.
//!
//! Its end is told once and for certain: by its shim or, where the shim has not told it, by this daemon. Until then the bundle
//! stays, so that the next daemon tells it if this one dies, and the id is taken.

use std::{io, path::Path, sync::Arc, time::SystemTime};

use davit_shim_api::task_v3::shim::{ConnectRequest, ConnectResponse};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio::{
    net::UnixStream,
    sync::oneshot::{self, error::RecvError},
};

use super::{Claim, Slot, Tasks};
use crate::{
    Bundle, CallError, Exit, Role, Shim, TaskError,
    bootstrap::Endpoint,
    connection::{Connection, pauses, says_death},
};

/// The exit status of a task of which nobody can say how it ended, as containerd has it.
pub(crate) const UNKNOWN_EXIT: u32 = 255;

/// Where the shim of a bundle is reached.
pub(crate) const ENDPOINT: &str = "bootstrap.json";

/// The same while it is being written, and when no task is there any more.
const HIDDEN_ENDPOINT: &str = ".bootstrap.json";

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
        davit_fail_point::reach("manager.delete.removed");
        let is_told = removed.is_none() || shim.told_removal().await;
        davit_fail_point::reach("manager.delete.told");
        self.dismiss(shim).await;
        davit_fail_point::reach("manager.delete.dismissed");
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

    /// Ends a shim that has no task. One that does not agree is cleaned up after as if it were dead; and killed, should it hang.
    pub(crate) async fn dismiss(&self, shim: &Shim) {
        let Err(error) = shim.shutdown().await else {
            return;
        };
        tracing::warn!(id = %shim.bundle.id, %error, "shim does not shut down");
        // With a sandbox its containers end, too.
        let holds_others = || shim.bundle.role == Role::Task && self.is_shared(shim);
        if matches!(error, CallError::Late(_)) && !holds_others() {
            self.kill_strays(&shim.binary, &shim.bundle).await;
        }
        self.clean_up(&shim.binary, &shim.bundle).await;
    }

    /// Whether another container is in the same shim, or may be.
    fn is_shared(&self, shim: &Shim) -> bool {
        let address = |shim: &Shim| shim.connection().ok().map(|connection| connection.address);
        let own = address(shim);
        let key = shim.key();
        self.slots().iter().any(|(of, slot)| {
            let may_be_there = match slot {
                Slot::There(other) => address(other) == own,
                // Nobody knows yet whose shim it is in.
                Slot::Coming | Slot::Returning(_) => true,
                Slot::Going => false,
            };
            *of != key && of.0 == key.0 && may_be_there
        })
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
                Ok(connection) if self.is_served(&connection, shim).await => return Some(connection),
                Ok(_) => tracing::debug!(id = %shim.bundle.id, "shim accepts and closes"),
                Err(error) if says_death(&error) => return None,
                Err(error) => tracing::warn!(id = %shim.bundle.id, %error, "shim cannot be reached"),
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("the pauses have no end")
    }

    /// A shim that is being killed may accept one more connection before its socket goes. One that does not answer is alive.
    async fn is_served(&self, connection: &Connection, shim: &Shim) -> bool {
        let request = ConnectRequest {
            id: shim.bundle.id.to_string(),
            ..Default::default()
        };
        let asked = connection.call_within::<_, ConnectResponse>(self.launcher.timeouts.load, "Connect", &request);
        !matches!(asked.await, Err(CallError::Closed))
    }

    /// Cleans up after a dead shim, and tells its task's death.
    pub(crate) async fn bury(&self, binary: &Path, bundle: &Bundle, place: Claim) -> Exit {
        let exit = self.clean_up(binary, bundle).await;
        davit_fail_point::reach("manager.death.cleaned-up");
        tracing::info!(namespace = %bundle.namespace, id = %bundle.id, status = exit.status, "shim has died");
        self.tell(bundle, &exit, place).await;
        exit
    }

    /// Tells an end, and then removes the bundle and frees the place. Returns when that is done or, while it goes on, after a limit:
    /// the task is gone by then.
    pub(crate) async fn tell(&self, bundle: &Bundle, exit: &Exit, place: Claim) {
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
        Ok(()) => {
            davit_fail_point::reach("manager.death.told");
            remove_bundle(bundle).await;
        }
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

/// Where the shim of a bundle is reached, as this daemon has written it down.
pub(crate) async fn recorded(bundle: &Bundle) -> io::Result<Endpoint> {
    read(bundle, ENDPOINT).await
}

async fn read(bundle: &Bundle, name: &str) -> io::Result<Endpoint> {
    let kept = tokio::fs::read(bundle.file(name)).await?;
    // Nobody will ever be found by a record that says nothing.
    Endpoint::parse(&kept).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
}

/// Hides the record of where the shim of a bundle is reached.
pub(crate) async fn forget(bundle: &Bundle) {
    let (known, hidden) = (bundle.file(ENDPOINT), bundle.file(HIDDEN_ENDPOINT));
    if let Err(error) = tokio::fs::rename(known, hidden).await {
        tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, %error, "forget a shim");
    }
}

/// A killed shim leaves its socket behind. One that still accepts belongs to a shim that holds other containers too.
async fn remove_dead_socket(bundle: &Bundle) {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    for record in [ENDPOINT, HIDDEN_ENDPOINT] {
        let Ok(path) = read(bundle, record).await.map(|endpoint| endpoint.socket()) else {
            continue;
        };
        if path.is_absolute() && UnixStream::connect(&path).await.is_err_and(refused) {
            // An error says that it is gone already.
            let _ = tokio::fs::remove_file(&path).await;
        }
    }
}
