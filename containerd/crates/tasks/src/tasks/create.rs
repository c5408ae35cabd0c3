//! How a task is made: its bundle, its shim, and what the shim makes of it.

use std::{io, path::PathBuf, sync::Arc};

use davit_shim_api::task_v3::{mount::Mount, shim::CreateTaskRequest};
use davit_vocabulary::{ContainerId, Namespace};
use protobuf::well_known_types::any::Any;
use tokio_util::sync::CancellationToken;

use super::{Tasks, end::remove_bundle};
use crate::{
    Bundle, CallError, Checkpoint, Shim, TaskError, binary, bootstrap::Endpoint, connection::Connection,
    log_pipe::LogPipe,
};

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
#[derive(Debug)]
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
    /// What it is restored from, where it is not made afresh.
    pub checkpoint: Option<Checkpoint>,
}

impl Tasks {
    /// Makes a task and returns its process id. On failure nothing of it is left: no bundle, no mount, no shim.
    ///
    /// Runs to its end even if the caller does not wait for it, unless the shim has not started yet.
    pub async fn create(self: &Arc<Self>, task: CreateTask) -> Result<u32, TaskError> {
        let tasks = self.clone();
        let gone = CancellationToken::new();
        let leaving = gone.clone().drop_guard();
        let made = tokio::spawn(async move { tasks.create_whole(task, gone).await }).await;
        drop(leaving.disarm());
        made.expect("creating a task does not panic")
    }

    async fn create_whole(self: Arc<Self>, task: CreateTask, gone: CancellationToken) -> Result<u32, TaskError> {
        self.has_returned(&task.namespace, &task.id).await;
        let claim = self.claim(&task.namespace, &task.id)?;
        let binary = binary::resolve(&task.runtime).map_err(TaskError::NoShim)?;
        let bundle = Bundle::at(&self.root, &self.state, &task.namespace, &task.id);
        make_bundle(bundle.clone(), task.spec.clone()).await?;
        match self.populate(&bundle, binary, task, gone).await {
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
        mut task: CreateTask,
        gone: CancellationToken,
    ) -> Result<(Arc<Shim>, u32), TaskError> {
        let checkpoint = match task.checkpoint.take() {
            Some(checkpoint) => Some(checkpoint.folder(bundle).await?),
            None => None,
        };
        let log = LogPipe::open(bundle).map_err(|source| TaskError::Bundle {
            path: bundle.file("log"),
            source,
        })?;
        // Before the start: should this daemon die now, the next one knows by which program to clean up.
        write(bundle, "shim-binary-path", binary.as_os_str().as_encoded_bytes()).await?;
        let starting = self.launcher.start(&binary, bundle, task.options.as_ref());
        let Some(endpoint) = gone.run_until_cancelled(starting).await else {
            self.clean_up(&binary, bundle).await;
            return Err(TaskError::Abandoned);
        };
        let endpoint = endpoint?;
        let connected = async {
            let json = serde_json::to_vec(&endpoint).expect("an endpoint is always written");
            write(bundle, "bootstrap.json", &json).await?;
            let connection = Connection::open(&endpoint, &bundle.namespace).await;
            connection.map_err(|error| TaskError::Start(not_reached(&endpoint, &error)))
        };
        let connection = match connected.await {
            Ok(connection) => connection,
            Err(error) => {
                self.clean_up(&binary, bundle).await;
                return Err(error);
            }
        };
        let shim = Arc::new(Shim::new(
            bundle.clone(),
            binary,
            connection,
            log,
            self.launcher.timeouts,
        ));
        match shim.create(&request(&shim, task, checkpoint)).await {
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
}

fn request(shim: &Shim, task: CreateTask, checkpoint: Option<PathBuf>) -> CreateTaskRequest {
    CreateTaskRequest {
        id: shim.bundle.id.to_string(),
        bundle: shim.bundle.path.to_string_lossy().into_owned(),
        rootfs: task.rootfs,
        terminal: task.stdio.terminal,
        stdin: task.stdio.stdin,
        stdout: task.stdio.stdout,
        stderr: task.stdio.stderr,
        options: task.options.into(),
        checkpoint: checkpoint.unwrap_or_default().to_string_lossy().into_owned(),
        ..Default::default()
    }
}

async fn make_bundle(bundle: Bundle, spec: Option<Vec<u8>>) -> Result<(), TaskError> {
    tokio::task::spawn_blocking(move || bundle.create(spec.as_deref()))
        .await
        .expect("making a bundle does not panic")
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

/// That nobody answers where a shim said, in containerd's words.
fn not_reached(endpoint: &Endpoint, error: &io::Error) -> String {
    let address = endpoint.address.strip_prefix("unix://").unwrap_or(&endpoint.address);
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    };
    format!("failed to create TTRPC connection: dial unix {address}: connect: {why}")
}
