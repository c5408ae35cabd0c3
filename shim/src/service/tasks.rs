//! The calls of the task service on the containers of this shim: requests in, answers out.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use tokio::sync::Notify;

use crate::{
    bootstrap::options_of,
    bundle::Bundle,
    container::{Container, CreateRequest, Deleted, Host},
    convert,
    error::TaskError,
    process::Status,
    rootfs::Mount,
    stdio::StdioRequest,
};

/// The containers of this shim.
#[derive(Debug)]
pub struct Tasks {
    host: Arc<Host>,
    table: Mutex<Table>,
    /// Told when a manager has asked for the end and no container is left.
    pub shutdown: Notify,
}

#[derive(Debug, Default)]
struct Table {
    containers: HashMap<ContainerId, Arc<Container>>,
    /// Ids of containers that are being created.
    reserved: HashSet<ContainerId>,
}

impl Tasks {
    /// No containers yet.
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            table: Mutex::default(),
            shutdown: Notify::new(),
        }
    }

    /// Whether any container is here or on its way.
    pub fn is_empty(&self) -> bool {
        let table = self.table();
        table.containers.is_empty() && table.reserved.is_empty()
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, TaskError> {
        self.table()
            .containers
            .get(id)
            .cloned()
            .ok_or_else(|| TaskError::NoContainer(id.into()))
    }

    pub(super) async fn create(&self, request: CreateTaskRequest) -> Result<CreateTaskResponse, TaskError> {
        let request = create_request(request)?;
        let id = request.id.clone();
        self.reserve(&id)?;
        let created = Container::create(request, self.host.clone()).await;
        let mut table = self.table();
        table.reserved.remove(&id);
        let container = created?;
        let pid = container.init.pid();
        table.containers.insert(id, container);
        Ok(CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    fn reserve(&self, id: &ContainerId) -> Result<(), TaskError> {
        let mut table = self.table();
        if table.containers.contains_key(id) || !table.reserved.insert(id.clone()) {
            return Err(TaskError::Exists(id.to_string()));
        }
        Ok(())
    }

    pub(super) async fn start(&self, request: StartRequest) -> Result<StartResponse, TaskError> {
        let container = self.container(&request.id)?;
        let pid = match exec_id(&request.exec_id)? {
            None => container.start().await?,
            Some(exec) => container.start_exec(&exec).await?,
        };
        Ok(StartResponse {
            pid,
            ..Default::default()
        })
    }

    pub(super) async fn delete(&self, request: DeleteRequest) -> Result<DeleteResponse, TaskError> {
        let container = self.container(&request.id)?;
        let deleted = match exec_id(&request.exec_id)? {
            Some(exec) => container.delete_exec(&exec).await?,
            None => {
                let deleted = container.delete().await?;
                self.table().containers.remove(&container.id);
                deleted
            }
        };
        Ok(delete_response(deleted))
    }

    pub(super) async fn exec(&self, request: ExecProcessRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id)?;
        let id: ExecId = request.exec_id.parse()?;
        let stdio = StdioRequest::new(request.terminal, [request.stdin, request.stdout, request.stderr])?;
        let spec = request.spec.into_option().unwrap_or_default();
        container.add_exec(id, &spec.value, stdio).await?;
        Ok(Empty::new())
    }

    pub(super) async fn kill(&self, request: KillRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id)?;
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
        self.container(&request.id)?.checkpoint(&request.path, &options).await?;
        Ok(Empty::new())
    }

    pub(super) async fn update(&self, request: UpdateTaskRequest) -> Result<Empty, TaskError> {
        let resources = request.resources.into_option().unwrap_or_default();
        self.container(&request.id)?.update(resources.value).await?;
        Ok(Empty::new())
    }

    pub(super) async fn pause(&self, request: PauseRequest) -> Result<Empty, TaskError> {
        self.container(&request.id)?.pause().await?;
        Ok(Empty::new())
    }

    pub(super) async fn resume(&self, request: ResumeRequest) -> Result<Empty, TaskError> {
        self.container(&request.id)?.resume().await?;
        Ok(Empty::new())
    }

    pub(super) async fn wait(&self, request: WaitRequest) -> Result<WaitResponse, TaskError> {
        let container = self.container(&request.id)?;
        let exit = container.process(&request.exec_id)?.wait().await;
        let exited_at = Some(convert::timestamp(exit.at)).into();
        Ok(WaitResponse {
            exit_status: exit.status,
            exited_at,
            ..Default::default()
        })
    }

    pub(super) fn state(&self, request: &StateRequest) -> Result<StateResponse, TaskError> {
        let container = self.container(&request.id)?;
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

    pub(super) fn pids(&self, request: &PidsRequest) -> Result<PidsResponse, TaskError> {
        let processes = self.container(&request.id)?.processes()?;
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

    pub(super) fn stats(&self, request: &StatsRequest) -> Result<StatsResponse, TaskError> {
        let container = self.container(&request.id)?;
        let cgroup = container.cgroup.as_ref();
        let cgroup = cgroup.ok_or_else(|| TaskError::State("the container has no cgroup of its own".into()))?;
        Ok(StatsResponse {
            stats: Some(cgroup.metrics()).into(),
            ..Default::default()
        })
    }

    pub(super) fn resize(&self, request: &ResizePtyRequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        let number =
            |cells: u32| u16::try_from(cells).map_err(|_| TaskError::Invalid(format!("terminal size {cells}")));
        let (rows, columns) = (number(request.height)?, number(request.width)?);
        if let Some(live) = process.live() {
            live.streams
                .resize(rows, columns)
                .map_err(TaskError::io("cannot resize the terminal"))?;
        }
        Ok(Empty::new())
    }

    pub(super) fn close_io(&self, request: &CloseIORequest) -> Result<Empty, TaskError> {
        let container = self.container(&request.id)?;
        let process = container.process(&request.exec_id)?;
        if let Some(live) = process.live().filter(|_| request.stdin) {
            live.streams.close_stdin();
        }
        Ok(Empty::new())
    }

    pub(super) fn connect(&self, request: &ConnectRequest) -> ConnectResponse {
        let task_pid = self.container(&request.id).map_or(0, |container| container.init.pid());
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

fn create_request(request: CreateTaskRequest) -> Result<CreateRequest, TaskError> {
    if !request.checkpoint.is_empty() || !request.parent_checkpoint.is_empty() {
        return Err(TaskError::Unsupported("creating a container from a checkpoint".into()));
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
    Ok(CreateRequest {
        id: request.id.parse()?,
        bundle: Bundle::new(request.bundle),
        rootfs: mounts.collect(),
        stdio: StdioRequest::new(request.terminal, [request.stdin, request.stdout, request.stderr])?,
        options: options.flatten().unwrap_or_default(),
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
