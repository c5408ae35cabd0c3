//! The map of shims: how they come into it and leave it.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use davit_shim_api::task_v3::{mount::Mount, shim::CreateTaskRequest};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use protobuf::well_known_types::any::Any;
use tokio::{net::UnixStream, sync::mpsc::UnboundedSender};

use crate::{
    Bundle, CallError, Exit, Launcher, Shim, TaskError, binary, bootstrap::Endpoint, connection::Connection,
    log_pipe::LogPipe,
};

/// The exit status of a task of which nobody can say how it ended, as containerd has it.
const UNKNOWN_EXIT: u32 = 255;
/// How often, and at what intervals, a shim whose connection broke is called again before it counts as dead. One whose socket
/// refuses is dead at once.
const RECONNECTS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(500)];

/// The standard streams of a process, as URIs; see the shim for their kinds.
#[derive(Clone, Debug, Default)]
pub struct Stdio {
    /// Where input comes from.
    pub stdin: String,
    /// Where output goes.
    pub stdout: String,
    /// Where errors go.
    pub stderr: String,
    /// Whether the process gets a terminal.
    pub terminal: bool,
}

/// A task to be made.
#[derive(Clone, Debug)]
pub struct CreateTask {
    /// The namespace of the container.
    pub namespace: Namespace,
    /// The container.
    pub id: ContainerId,
    /// The name of its runtime, or the path of its shim.
    pub runtime: String,
    /// Its OCI specification, as JSON.
    pub spec: Option<Vec<u8>>,
    /// Options for the runtime.
    pub options: Option<Any>,
    /// What the shim mounts on the root file system.
    pub rootfs: Vec<Mount>,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// A task whose shim has died, after the cleaning up.
#[derive(Clone, Debug)]
pub struct Death {
    /// The namespace of the container.
    pub namespace: Namespace,
    /// The container.
    pub id: ContainerId,
    /// The exit of its first process.
    pub exit: Exit,
}

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

    /// Makes a task and returns its process id. On failure nothing of it is left: no bundle, no mount, no shim.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn create(self: &Arc<Self>, task: CreateTask) -> Result<u32, TaskError> {
        let tasks = self.clone();
        tokio::spawn(async move { tasks.create_whole(task).await })
            .await
            .expect("creating a task does not panic")
    }

    async fn create_whole(self: Arc<Self>, task: CreateTask) -> Result<u32, TaskError> {
        let claim = self.claim(&task.namespace, &task.id)?;
        let binary = binary::resolve(&task.runtime).map_err(TaskError::NoShim)?;
        let bundle = Bundle::at(&self.root, &self.state, &task.namespace, &task.id);
        make_bundle(bundle.clone(), task.spec.clone()).await?;
        match self.populate(&bundle, binary, task).await {
            Ok((shim, pid)) => {
                claim.fill(shim);
                Ok(pid)
            }
            Err(error) => {
                remove_bundle(&bundle).await;
                Err(error)
            }
        }
    }

    async fn populate(
        self: &Arc<Self>,
        bundle: &Bundle,
        binary: PathBuf,
        task: CreateTask,
    ) -> Result<(Arc<Shim>, u32), TaskError> {
        let log = LogPipe::open(bundle).map_err(|source| TaskError::Bundle {
            path: bundle.file("log"),
            source,
        })?;
        // Before the start: should this daemon die now, the next one knows by which program to clean up.
        write(bundle, "shim-binary-path", binary.as_os_str().as_encoded_bytes()).await?;
        let endpoint = self.launcher.start(&binary, bundle, task.options.as_ref()).await?;
        let connected = async {
            let json = serde_json::to_vec(&endpoint).expect("an endpoint is always written");
            write(bundle, "bootstrap.json", &json).await?;
            let connection = Connection::open(&endpoint, &bundle.namespace).await;
            connection.map_err(|error| TaskError::Start(format!("connect to {}: {error}", endpoint.address)))
        };
        let connection = match connected.await {
            Ok(connection) => connection,
            Err(error) => {
                self.clean_up(&binary, bundle).await;
                return Err(error);
            }
        };
        let shim = Arc::new(Shim::new(bundle.clone(), binary, connection, log));
        match shim.create(&request(&shim, task)).await {
            Ok(pid) => Ok((shim, pid)),
            Err(error) => {
                self.dismiss(&shim).await;
                if error == CallError::Closed {
                    self.clean_up(&shim.binary, bundle).await;
                }
                Err(TaskError::Create(error))
            }
        }
    }

    /// Removes an ended task, its shim and its bundle.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn delete(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<Exit, TaskError> {
        let shim = self.get(namespace, id)?;
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
            self.dismiss(&shim).await;
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

    /// Puts a shim that was found into the map.
    pub(crate) fn adopt(self: &Arc<Self>, shim: Arc<Shim>) {
        if let Ok(claim) = self.claim(&shim.bundle.namespace, &shim.bundle.id) {
            claim.fill(shim);
        }
    }

    /// Waits for a shim's end, and cleans up after one that was not taken down.
    async fn watch(self: Arc<Self>, shim: Arc<Shim>) {
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
    pub(crate) async fn bury(&self, binary: &std::path::Path, bundle: &Bundle) -> Exit {
        let exit = self.clean_up(binary, bundle).await;
        tracing::info!(namespace = %bundle.namespace, id = %bundle.id, status = exit.status, "shim has died");
        remove_bundle(bundle).await;
        let death = Death {
            namespace: bundle.namespace.clone(),
            id: bundle.id.clone(),
            exit: exit.clone(),
        };
        // An error says that the daemon stops.
        let _ = self.deaths.send(death);
        exit
    }

    /// Lets the shim's program clean up after a shim that is gone, and removes its socket.
    pub(crate) async fn clean_up(&self, binary: &std::path::Path, bundle: &Bundle) -> Exit {
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

fn request(shim: &Shim, task: CreateTask) -> CreateTaskRequest {
    CreateTaskRequest {
        id: shim.bundle.id.to_string(),
        bundle: shim.bundle.path.to_string_lossy().into_owned(),
        rootfs: task.rootfs,
        terminal: task.stdio.terminal,
        stdin: task.stdio.stdin,
        stdout: task.stdio.stdout,
        stderr: task.stdio.stderr,
        options: task.options.into(),
        ..Default::default()
    }
}

async fn make_bundle(bundle: Bundle, spec: Option<Vec<u8>>) -> Result<(), TaskError> {
    tokio::task::spawn_blocking(move || bundle.create(spec.as_deref()))
        .await
        .expect("making a bundle does not panic")
}

pub(crate) async fn remove_bundle(bundle: &Bundle) {
    let removed = bundle.clone();
    let result = tokio::task::spawn_blocking(move || removed.remove()).await;
    if let Err(error) = result.expect("removing a bundle does not panic") {
        tracing::error!(namespace = %bundle.namespace, id = %bundle.id, %error, "remove bundle");
    }
}

/// Writes down in the bundle how the shim is found again: whole or not at all.
async fn write(bundle: &Bundle, name: &str, bytes: &[u8]) -> Result<(), TaskError> {
    let (path, unfinished) = (bundle.file(name), bundle.file(&format!(".{name}")));
    let result = async {
        tokio::fs::write(&unfinished, bytes).await?;
        tokio::fs::rename(&unfinished, &path).await
    };
    result.await.map_err(|source| TaskError::Bundle { path, source })
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

#[cfg(test)]
mod tests;
