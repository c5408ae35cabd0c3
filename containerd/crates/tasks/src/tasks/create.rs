//! How a task is made: its bundle, its shim, and what the shim makes of it.

use std::{io, path::PathBuf, sync::Arc};

use davit_shim_api::task_v3::{mount::Mount, shim::CreateTaskRequest};
use davit_vocabulary::{ContainerId, Namespace};
use protobuf::well_known_types::any::Any;
use tokio_util::sync::CancellationToken;

use super::{
    Tasks,
    end::{ENDPOINT, recorded, remove_bundle},
};
use crate::{
    Bundle, CallError, Checkpoint, Exit, Shim, TaskError, binary,
    bootstrap::{Endpoint, NEWEST},
    connection::Connection,
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
    /// The sandbox that it belongs to.
    pub sandbox: Option<Sandboxed>,
}

/// A container's place in a sandbox.
#[derive(Clone, Debug)]
pub struct Sandboxed {
    /// The sandbox.
    pub id: ContainerId,
    /// Where its shim is reached, `ttrpc+unix://` and a path, and the generation of the task service there; where it is not given, the
    /// shim that this daemon has started for the sandbox is meant.
    pub address: Option<(String, u32)>,
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
        let holder = self.holder(&task).await?;
        let bundle = Bundle::at(&self.root, &self.state, &task.namespace, &task.id);
        make_bundle(bundle.clone(), task.spec.clone()).await?;
        let populated = self.populate(&bundle, holder, task, gone).await;
        let is_told = self
            .told_creations()
            .remove(&(bundle.namespace.clone(), bundle.id.clone()));
        match populated {
            Ok((shim, pid)) => {
                claim.fill(shim);
                Ok(pid)
            }
            Err(failure) => {
                davit_fail_point::reach("manager.create.failed");
                match failure.exit.filter(|_| is_told) {
                    Some(exit) => self.tell(&bundle, &exit, claim).await,
                    None => remove_bundle(&bundle).await,
                }
                Err(failure.error)
            }
        }
    }

    async fn populate(
        self: &Arc<Self>,
        bundle: &Bundle,
        holder: Holder,
        mut task: CreateTask,
        gone: CancellationToken,
    ) -> Result<(Arc<Shim>, u32), Failure> {
        let checkpoint = match task.checkpoint.take() {
            Some(checkpoint) => Some(checkpoint.folder(bundle).await?),
            None => None,
        };
        let shim = self.begin(bundle, holder, task.options.as_ref(), &gone).await?;
        match shim.create(&request(&shim, task, checkpoint)).await {
            Ok(pid) => {
                davit_fail_point::reach("manager.create.task-made");
                Ok((shim, pid))
            }
            Err(error) => {
                self.dismiss(&shim).await;
                let exit = match error {
                    CallError::Closed => Some(self.clean_up(&shim.binary, bundle).await),
                    _ => None,
                };
                Err(Failure {
                    error: TaskError::Create(error),
                    exit,
                })
            }
        }
    }

    /// Starts the shim of a bundle, or finds that of its sandbox, and connects to it. A start that nobody waits for any more is given up.
    pub(crate) async fn begin(
        &self,
        bundle: &Bundle,
        holder: Holder,
        options: Option<&Any>,
        gone: &CancellationToken,
    ) -> Result<Arc<Shim>, TaskError> {
        let binary = holder.binary;
        let log = LogPipe::open(bundle).map_err(|source| TaskError::Bundle {
            path: bundle.file("log"),
            source,
        })?;
        davit_fail_point::reach("manager.create.log-made");
        // Before the start: should this daemon die now, the next one knows by which program to clean up.
        write(bundle, "shim-binary-path", binary.as_os_str().as_encoded_bytes()).await?;
        davit_fail_point::reach("manager.create.program-noted");
        let endpoint = match holder.sandbox {
            None => {
                let starting = self.launcher.start(&binary, bundle, options);
                let started = gone.run_until_cancelled(starting).await;
                match started.unwrap_or(Err(TaskError::Abandoned)) {
                    Ok(endpoint) => endpoint,
                    Err(error) => {
                        self.clean_up_start(&binary, bundle).await;
                        return Err(error);
                    }
                }
            }
            Some((sandbox, endpoint)) => {
                bundle.join_sandbox(&sandbox)?;
                endpoint
            }
        };
        davit_fail_point::reach("manager.create.shim-started");
        let connected = async {
            let json = serde_json::to_vec(&endpoint).expect("an endpoint is always written");
            write(bundle, ENDPOINT, &json).await?;
            davit_fail_point::reach("manager.create.endpoint-noted");
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
        let timeouts = self.launcher.timeouts;
        Ok(Arc::new(Shim::new(bundle.clone(), binary, connection, log, timeouts)))
    }

    /// Which shim is to hold a task.
    async fn holder(&self, task: &CreateTask) -> Result<Holder, TaskError> {
        if let Some(sandbox) = &task.sandbox
            && let Some(holder) = self.holder_in(&task.namespace, sandbox, &task.runtime).await?
        {
            return Ok(holder);
        }
        let binary = binary::resolve(&task.runtime).map_err(TaskError::NoShim)?;
        Ok(Holder { binary, sandbox: None })
    }

    /// The shim of the sandbox. There is none that could be told of a task by its address alone if it is of an older generation: then
    /// the shim's program is executed for each container, and finds the group by itself.
    async fn holder_in(
        &self,
        namespace: &Namespace,
        sandbox: &Sandboxed,
        runtime: &str,
    ) -> Result<Option<Holder>, TaskError> {
        let (binary, endpoint) = match &sandbox.address {
            Some((address, version)) => {
                let binary = binary::resolve(runtime).map_err(TaskError::NoShim)?;
                (binary, Endpoint::of_sandbox(address, *version)?)
            }
            None => {
                let missing = |_| TaskError::NoSandboxShim(sandbox.id.to_string());
                let shim = self.find(namespace, sandbox.id.as_str()).await.map_err(missing)?;
                let endpoint = recorded(&shim.bundle).await.map_err(|source| TaskError::Bundle {
                    path: shim.bundle.file(ENDPOINT),
                    source,
                })?;
                (shim.binary.clone(), endpoint)
            }
        };
        Ok((endpoint.version >= NEWEST).then(|| Holder {
            binary,
            sandbox: Some((sandbox.id.clone(), endpoint)),
        }))
    }
}

/// The shim that a bundle is for.
pub(crate) struct Holder {
    /// Its program.
    pub(crate) binary: PathBuf,
    /// The sandbox that it was started for already, and where it is reached.
    pub(crate) sandbox: Option<(ContainerId, Endpoint)>,
}

/// Why there is no task.
struct Failure {
    error: TaskError,
    /// How it ended, where its shim has died and it may have been there.
    exit: Option<Exit>,
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        Self { error, exit: None }
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

pub(crate) async fn make_bundle(bundle: Bundle, spec: Option<Vec<u8>>) -> Result<(), TaskError> {
    tokio::task::spawn_blocking(move || bundle.create(spec.as_deref()))
        .await
        .expect("making a bundle does not panic")
}

/// Writes down in the bundle how the shim is found again: whole or not at all.
async fn write(bundle: &Bundle, name: &str, bytes: &[u8]) -> Result<(), TaskError> {
    let (path, unfinished) = (bundle.file(name), bundle.file(&format!(".{name}")));
    let result = async {
        tokio::fs::write(&unfinished, bytes).await?;
        davit_fail_point::reach("manager.create.note-drafted");
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
