//! The calls of the task service on the containers of this shim: requests in, answers out.

mod handover;

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use davit_shim_api::{
    options::oci::{CheckpointOptions, ProcessDetails},
    task_v3::{
        shim::*,
        task::{ProcessInfo, Status as WireStatus},
    },
};
use davit_vocabulary::{ContainerId, ExecId};
use protobuf::{
    Message,
    well_known_types::{any::Any, empty::Empty},
};
use tokio::{
    sync::{Notify, watch},
    time,
};

pub use self::handover::TasksState;
use crate::{
    bootstrap::options_of,
    bundle::Bundle,
    container::{Checkpoint, Container, CreateRequest, Deleted, Host},
    convert,
    error::TaskError,
    process::Status,
    rootfs::Mount,
    sandbox::SandboxSlot,
    stdio::StdioRequest,
};

/// The containers of this shim.
#[derive(Debug)]
pub struct Tasks {
    host: Arc<Host>,
    table: Mutex<Table>,
    /// Told when a creation has come to its end, well or not.
    settled: Notify,
    /// The sandbox that the containers are part of, where there is one.
    pub sandbox: SandboxSlot,
    /// Whether a manager has asked for the end while there were containers of the group beside the one it spoke of.
    is_leaving: AtomicBool,
    /// How many ends of this shim are decided on and wait for their answers to get out.
    leaving_soon: AtomicUsize,
    /// A manager has asked for the end, and nothing keeps the shim.
    ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Table {
    containers: HashMap<ContainerId, Arc<Container>>,
    /// Containers that are being created, and how to have that given up.
    reserved: HashMap<ContainerId, watch::Sender<bool>>,
}

/// How long a question about a container waits for its creation. A manager that has come back asks one, and counts a shim
/// that does not answer within five seconds as one that holds a container.
const CREATION_PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer may take to be read. containerd takes a connection that closes for an error, even if the answer has come
/// before.
const ANSWER: Duration = Duration::from_millis(100);

impl Tasks {
    /// No containers yet.
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            table: Mutex::default(),
            settled: Notify::new(),
            sandbox: SandboxSlot::default(),
            is_leaving: AtomicBool::new(false),
            leaving_soon: AtomicUsize::new(0),
            ending: watch::Sender::new(false),
        }
    }

    /// Whether nothing keeps this shim: no container that is here or on its way, and no sandbox.
    pub fn is_empty(&self) -> bool {
        self.has_no_containers() && !self.sandbox.keeps_shim()
    }

    fn has_no_containers(&self) -> bool {
        let table = self.table();
        table.containers.is_empty() && table.reserved.is_empty()
    }

    /// Whether the shim is to end.
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Returns when the shim is to end.
    pub async fn ended(&self) {
        // The sender is ours.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    fn end(&self) {
        self.ending.send_replace(true);
    }

    /// The container of this id; one that is being created is waited for, for a while.
    ///
    /// A creation outlives the manager that asked for it. The next one asks for the container's state, and takes a shim without a
    /// container down. The create is read before that question, since its bytes were there before the question's
    /// connection was.
    pub(super) async fn container(&self, id: &str) -> Result<Arc<Container>, TaskError> {
        let deadline = time::Instant::now() + CREATION_PATIENCE;
        loop {
            // Before the look: it is told of every end from now on.
            let settled = self.settled.notified();
            {
                let table = self.table();
                if let Some(container) = table.containers.get(id) {
                    return Ok(container.clone());
                }
                if !table.reserved.contains_key(id) {
                    return Err(TaskError::NoContainer(id.into()));
                }
            }
            if time::timeout_at(deadline, settled).await.is_err() {
                return Err(TaskError::NoContainer(id.into()));
            }
        }
    }

    /// All containers that are here.
    pub(super) fn containers(&self) -> Vec<Arc<Container>> {
        self.table().containers.values().cloned().collect()
    }

    /// The manager wants no shim for this container any more: an empty one ends, and a creation is given up. Other containers of
    /// the group keep the shim alive. So does a sandbox, but for a manager that speaks of the sandbox itself: that one knows of none.
    pub(super) fn shut_down(&self, id: &str) {
        davit_fail_point::reach("shim.shutdown.asked");
        if self.is_left_by(id) {
            self.end();
        } else if let Some(giving_up) = self.table().reserved.get(id) {
            tracing::info!(id, "the creation is given up");
            giving_up.send_replace(true);
        } else if id == self.host.id.as_str() {
            // Whoever takes the rest of the group for part of a sandbox does not ask again for them.
            self.is_leaving.store(true, Ordering::Relaxed);
        }
    }

    /// Whether nothing is here but what has this id.
    fn is_left_by(&self, id: &str) -> bool {
        let sandbox = self.sandbox.held();
        self.has_no_containers() && sandbox.is_none_or(|sandbox| sandbox.id.as_str() == id)
    }

    /// Ends the shim where that was asked for already, and nothing keeps it any more.
    fn leave_if_last(self: &Arc<Self>) {
        let is_due = |tasks: &Self| tasks.is_leaving.load(Ordering::Relaxed) && tasks.is_left_by(&tasks.host.id);
        if is_due(self) {
            self.end_soon_if(is_due);
        }
    }

    /// Ends the shim if that is due then: what has brought it about is still to be answered.
    pub(super) fn end_soon_if(self: &Arc<Self>, is_due: fn(&Self) -> bool) {
        let tasks = self.clone();
        self.leaving_soon.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            time::sleep(ANSWER).await;
            tasks.leaving_soon.fetch_sub(1, Ordering::Relaxed);
            if is_due(&tasks) {
                tasks.end();
            }
        });
    }

    /// Gives up whatever creation is under way, and waits for its end, well or not.
    pub(super) async fn end_creations(&self) {
        loop {
            // Before the look: it is told of every end from now on.
            let settled = self.settled.notified();
            {
                let table = self.table();
                if table.reserved.is_empty() {
                    return;
                }
                for giving_up in table.reserved.values() {
                    giving_up.send_replace(true);
                }
            }
            settled.await;
        }
    }

    pub(super) async fn create(self: &Arc<Self>, request: CreateTaskRequest) -> Result<CreateTaskResponse, TaskError> {
        let container = self.add(create_request(request)?).await?;
        Ok(CreateTaskResponse {
            pid: container.init.pid(),
            ..Default::default()
        })
    }

    /// Creates a container.
    pub(super) async fn add(self: &Arc<Self>, request: CreateRequest) -> Result<Arc<Container>, TaskError> {
        if self.sandbox.is_closed() {
            return Err(TaskError::State("the sandbox has ended".into()));
        }
        let reservation = self.reserve(&request.id)?;
        let made = Container::create(request, self.host.clone(), reservation.given_up.clone()).await;
        match &made {
            Ok(container) => reservation.fill(container.clone()),
            Err(_) => {
                drop(reservation);
                self.leave_if_last();
            }
        }
        made
    }

    fn reserve(&self, id: &ContainerId) -> Result<Reservation<'_>, TaskError> {
        let mut table = self.table();
        if table.containers.contains_key(id) || table.reserved.contains_key(id) {
            return Err(TaskError::Exists(id.to_string()));
        }
        let (giving_up, given_up) = watch::channel(false);
        table.reserved.insert(id.clone(), giving_up);
        Ok(Reservation {
            tasks: self,
            id: id.clone(),
            given_up,
        })
    }

    pub(super) async fn start(&self, request: StartRequest) -> Result<StartResponse, TaskError> {
        let container = self.container(&request.id).await?;
        let pid = match exec_id(&request.exec_id)? {
            None => container.start().await?,
            Some(exec) => container.start_exec(&exec).await?,
        };
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    pub(super) async fn delete(self: &Arc<Self>, request: DeleteRequest) -> Result<DeleteResponse, TaskError> {
        let container = self.container(&request.id).await?;
        let deleted = match exec_id(&request.exec_id)? {
            Some(exec) => container.delete_exec(&exec).await?,
            None => self.remove(&container).await?,
        };
        Ok(delete_response(deleted))
    }

    /// Deletes a container that has ended.
    pub(super) async fn remove(self: &Arc<Self>, container: &Container) -> Result<Deleted, TaskError> {
        let deleted = container.delete().await?;
        self.table().containers.remove(&container.id);
        self.leave_if_last();
        Ok(deleted)
    }

    pub(super) async fn exec(&self, request: ExecProcessRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id).await?;
        let id: ExecId = request.exec_id.parse()?;
        let stdio = StdioRequest::new(request.terminal, [request.stdin, request.stdout, request.stderr])?;
        let spec = request.spec.into_option().unwrap_or_default();
        container.add_exec(id, &spec.value, stdio).await?;
        Ok(Empty::new())
    }

    pub(super) async fn kill(&self, request: KillRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id).await?;
        match request.exec_id.as_str() {
            "" => container.kill(request.signal, request.all).await?,
            exec => container.process(exec)?.kill(request.signal)?,
        }
        Ok(Empty::new())
    }

    pub(super) async fn checkpoint(&self, request: CheckpointTaskRequest) -> Result<Empty, TaskError> {
        let options = match request.options.as_ref() {
            None => CheckpointOptions::new(),
            Some(any) => CheckpointOptions::parse_from_bytes(&any.value)
                .map_err(|error| TaskError::Invalid(format!("cannot read the checkpoint options: {error}")))?,
        };
        self.container(&request.id)
            .await?
            .checkpoint(&request.path, &options)
            .await?;
        Ok(Empty::new())
    }

    pub(super) async fn update(&self, request: UpdateTaskRequest) -> Result<Empty, TaskError> {
        let resources = request.resources.into_option().unwrap_or_default();
        self.container(&request.id).await?.update(resources.value).await?;
        Ok(Empty::new())
    }

    pub(super) async fn pause(&self, request: PauseRequest) -> Result<Empty, TaskError> {
        self.container(&request.id).await?.pause().await?;
        Ok(Empty::new())
    }

    pub(super) async fn resume(&self, request: ResumeRequest) -> Result<Empty, TaskError> {
        self.container(&request.id).await?.resume().await?;
        Ok(Empty::new())
    }

    pub(super) async fn wait(&self, request: WaitRequest) -> Result<WaitResponse, TaskError> {
        let container = self.container(&request.id).await?;
        let exit = container.process(&request.exec_id)?.wait().await;
        let exited_at = Some(convert::timestamp(exit.at)).into();
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at,
            ..Default::default()
        })
    }

    pub(super) async fn state(&self, request: &StateRequest) -> Result<StateResponse, TaskError> {
        let container = self.container(&request.id).await?;
        let process = container.process(&request.exec_id)?;
        let [stdin, stdout, stderr] = process.stdio.texts.clone();
        let mut response = StateResponse {
            id: container.id.to_string(),
            exec_id: request.exec_id.clone(),
            bundle: container.bundle.path().display().to_string(),
            pid: process.pid(),
            terminal: process.stdio.terminal,
            stdin,
            stdout,
            stderr,
            ..Default::default()
        };
        let status = match process.status() {
            Status::Created => WireStatus::CREATED,
            Status::Running if container.is_paused() => WireStatus::PAUSED,
            Status::Running => WireStatus::RUNNING,
            Status::Stopped(exit) => {
                response.exit_status = exit.status;
                response.exited_at = Some(convert::timestamp(exit.at)).into();
                WireStatus::STOPPED
            }
        };
        response.status = status.into();
        Ok(response)
    }

    pub(super) async fn pids(&self, request: &PidsRequest) -> Result<PidsResponse, TaskError> {
        let processes = self.container(&request.id).await?.processes()?;
        let processes = processes.into_iter().map(|(pid, exec)| ProcessInfo {
            pid,
            info: exec.map(process_details).into(),
            ..Default::default()
        });
        Ok(PidsResponse {
            processes: processes.collect(),
            ..Default::default()
        })
    }

    pub(super) async fn stats(&self, request: &StatsRequest) -> Result<StatsResponse, TaskError> {
        let container = self.container(&request.id).await?;
        let cgroup = container.cgroup();
        let cgroup = cgroup.ok_or_else(|| TaskError::State("the container has no cgroup of its own".into()))?;
        Ok(StatsResponse {
            stats: Some(cgroup.metrics()).into(),
            ..Default::default()
        })
    }

    pub(super) async fn resize(&self, request: &ResizePtyRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id).await?;
        let process = container.process(&request.exec_id)?;
        let number =
            |cells: u32| u16::try_from(cells).map_err(|_| TaskError::Invalid(format!("terminal size {cells}")));
        let (rows, columns) = (number(request.height)?, number(request.width)?);
        if let (Status::Stopped(_), false) = (process.status(), request.exec_id.is_empty()) {
            return Err(TaskError::State("cannot resize a stopped container".into()));
        }
        if let Some(live) = process.live() {
            live.streams
                .resize(rows, columns)
                .map_err(TaskError::io("cannot resize the terminal"))?;
        }
        Ok(Empty::new())
    }

    pub(super) async fn close_io(&self, request: &CloseIORequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id).await?;
        let process = container.process(&request.exec_id)?;
        if let Some(live) = process.live().filter(|_| request.stdin) {
            live.streams.close_stdin();
        }
        Ok(Empty::new())
    }

    /// Waits for nothing: without a container there is an answer, too.
    pub(super) fn connect(&self, request: &ConnectRequest) -> ConnectResponse {
        let table = self.table();
        let container = table.containers.get(request.id.as_str());
        let task_pid = container.map_or(0, |container| container.init.pid());
        ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            ..Default::default()
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of a container that is being created. Dropped, it is free again, and who waited for the container goes on.
struct Reservation<'a> {
    tasks: &'a Tasks,
    id: ContainerId,
    /// Becomes true when nobody wants it any more.
    given_up: watch::Receiver<bool>,
}

impl Reservation<'_> {
    /// The container is there. Not for a moment are both it and the reservation absent.
    fn fill(self, container: Arc<Container>) {
        self.tasks.table().containers.insert(self.id.clone(), container);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.tasks.table().reserved.remove(&self.id);
        self.tasks.settled.notify_waiters();
        if *self.given_up.borrow() && self.tasks.is_left_by(&self.id) {
            self.tasks.end();
        }
    }
}

fn create_request(request: CreateTaskRequest) -> Result<CreateRequest, TaskError> {
    if !request.parent_checkpoint.is_empty() {
        // No runtime takes one for a restore.
        return Err(TaskError::Unsupported(
            "a parent checkpoint beside the one that an image names itself".into(),
        ));
    }
    if !Path::new(&request.bundle).is_absolute() {
        return Err(TaskError::Invalid(format!(
            "bundle {:?} is not an absolute path",
            request.bundle
        )));
    }
    let mounts = request.rootfs.into_iter().map(|mount| Mount {
        kind: mount.type_,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    });
    let options = request.options.as_ref().map(options_of).transpose()?;
    let options = options.flatten().unwrap_or_default();
    Ok(CreateRequest {
        id: request.id.parse()?,
        bundle: Bundle::new(request.bundle),
        rootfs: mounts.collect(),
        stdio: StdioRequest::new(request.terminal, [request.stdin, request.stdout, request.stderr])?,
        checkpoint: Checkpoint::of(&request.checkpoint, &options),
        options,
    })
}

fn exec_id(text: &str) -> Result<Option<ExecId>, TaskError> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(text.parse()?))
}

fn delete_response(deleted: Deleted) -> DeleteResponse {
    DeleteResponse {
        pid: deleted.pid,
        exit_status: deleted.exit.status,
        exited_at: Some(convert::timestamp(deleted.exit.at)).into(),
        ..Default::default()
    }
}

fn process_details(exec: ExecId) -> Any {
    let details = ProcessDetails {
        exec_id: exec.into(),
        ..Default::default()
    };
    Any {
        type_url: "containerd.runc.v1.ProcessDetails".into(),
        value: details
            .write_to_bytes()
            .expect("a message without required fields serializes"),
        ..Default::default()
    }
}
