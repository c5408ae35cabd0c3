//! The containerd gRPC API as this crate uses it: one method a call, with our words for what is asked.

use std::collections::HashMap;

use davit_containerd_api::{
    any,
    services::{
        containers::v1::{
            Container, CreateContainerRequest, DeleteContainerRequest, ListContainersRequest, container::Runtime,
            containers_client::ContainersClient,
        },
        events::v1::{SubscribeRequest, events_client::EventsClient},
        snapshots::v1::{
            ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, UsageRequest,
            UsageResponse, snapshots_client::SnapshotsClient,
        },
        tasks::v1::{
            CreateTaskRequest, DeleteProcessRequest, DeleteTaskRequest, ExecProcessRequest, GetRequest, KillRequest,
            ListPidsRequest, ListTasksRequest, ResizePtyRequest, StartRequest, WaitRequest, tasks_client::TasksClient,
        },
        version::v1::{VersionResponse, version_client::VersionClient},
    },
    types::{Envelope, Mount},
};
use davit_vocabulary::Namespace;
use jiff::Timestamp;
use prost_types::Any;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::error::{ContainerError, containerd};

type Result<T> = std::result::Result<T, ContainerError>;
type Wire = InterceptedService<Channel, InNamespace>;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its code; 128 and the signal's number where one killed it.
    pub code: i32,
    /// When.
    pub at: Timestamp,
}

/// A task as the manager sees it.
#[derive(Clone, Debug)]
pub struct Task {
    /// The container.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// Created, running or stopped.
    pub phase: Phase,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, its process waits for start.
    Created,
    /// Runs (or is paused).
    Running,
    /// Ended, its exit kept.
    Stopped,
    /// The manager cannot tell.
    Unknown,
}

/// Streams of a process as the shim takes them.
#[derive(Clone, Debug, Default)]
pub struct Streams {
    /// URI of stdin.
    pub stdin: String,
    /// URI of stdout.
    pub stdout: String,
    /// URI of stderr.
    pub stderr: String,
    /// Whether there is a terminal.
    pub terminal: bool,
}

/// Which shim and runtime hold containers.
#[derive(Clone, Debug)]
pub struct RuntimeChoice {
    /// `io.containerd.davit.v1`, or a shim's absolute path.
    pub name: String,
    /// runc-like options.
    pub options: davit_containerd_api::runc::v1::Options,
}

/// The manager, in one namespace. Cheap to clone; reconnects by itself.
#[derive(Clone, Debug)]
pub struct Containerd {
    channel: Channel,
    namespace: InNamespace,
    snapshotter: String,
}

/// Adds the namespace to each call.
#[derive(Clone, Debug)]
pub struct InNamespace(MetadataValue<Ascii>);

impl Interceptor for InNamespace {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        request.metadata_mut().insert("containerd-namespace", self.0.clone());
        Ok(request)
    }
}

impl Containerd {
    /// The manager behind this channel. Makes no call.
    pub fn new(channel: Channel, namespace: &Namespace, snapshotter: &str) -> Self {
        let value = namespace.as_str().parse().expect("a namespace is ASCII");
        Self {
            channel,
            namespace: InNamespace(value),
            snapshotter: snapshotter.into(),
        }
    }

    fn tasks(&self) -> TasksClient<Wire> {
        TasksClient::with_interceptor(self.channel.clone(), self.namespace.clone())
    }

    fn containers(&self) -> ContainersClient<Wire> {
        ContainersClient::with_interceptor(self.channel.clone(), self.namespace.clone())
    }

    fn snapshots(&self) -> SnapshotsClient<Wire> {
        SnapshotsClient::with_interceptor(self.channel.clone(), self.namespace.clone())
    }

    /// Version and revision.
    pub async fn version(&self) -> Result<VersionResponse> {
        let mut client = VersionClient::with_interceptor(self.channel.clone(), self.namespace.clone());
        let answer = client.version(()).await.map_err(containerd("version"))?;
        Ok(answer.into_inner())
    }

    /// Makes a container's writable layer and returns its mounts. Kept until removed by name: a label tells the
    /// manager's collector that we hold it.
    pub async fn prepare_snapshot(&self, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let root = HashMap::from([("containerd.io/gc.root".to_owned(), Timestamp::now().to_string())]);
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.into(),
            parent: parent.into(),
            labels: root,
        };
        let answer = self
            .snapshots()
            .prepare(request)
            .await
            .map_err(containerd("prepare snapshot"))?;
        Ok(answer.into_inner().mounts)
    }

    /// The mounts of a container's writable layer.
    pub async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let request = MountsRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.into(),
        };
        let answer = self
            .snapshots()
            .mounts(request)
            .await
            .map_err(containerd("snapshot mounts"))?;
        Ok(answer.into_inner().mounts)
    }

    /// Bytes and files of a container's writable layer.
    pub async fn usage(&self, key: &str) -> Result<UsageResponse> {
        let request = UsageRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.into(),
        };
        let answer = self
            .snapshots()
            .usage(request)
            .await
            .map_err(containerd("snapshot usage"))?;
        Ok(answer.into_inner())
    }

    /// Removes a container's writable layer. Nothing there is fine.
    pub async fn remove_snapshot(&self, key: &str) -> Result<()> {
        let request = RemoveSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.into(),
        };
        let result = self
            .snapshots()
            .remove(request)
            .await
            .map_err(containerd("remove snapshot"));
        gone_is_fine(result.map(drop))
    }

    /// Keys of all snapshots.
    pub async fn list_snapshots(&self) -> Result<Vec<String>> {
        let request = ListSnapshotsRequest {
            snapshotter: self.snapshotter.clone(),
            filters: Vec::new(),
        };
        let failed = containerd("list snapshots");
        let mut pages = self.snapshots().list(request).await.map_err(&failed)?.into_inner();
        let mut keys = Vec::new();
        while let Some(page) = pages.message().await.map_err(&failed)? {
            keys.extend(page.info.into_iter().map(|info| info.name));
        }
        Ok(keys)
    }

    /// Makes the manager's record of a container, for one run.
    pub async fn create_container(&self, id: &str, image: &str, runtime: &RuntimeChoice, spec: Vec<u8>) -> Result<()> {
        let container = Container {
            id: id.into(),
            image: image.into(),
            runtime: Some(Runtime {
                name: runtime.name.clone(),
                options: Some(any::pack(&runtime.options)),
            }),
            spec: Some(json(any::SPEC, spec)),
            snapshotter: self.snapshotter.clone(),
            snapshot_key: id.into(),
            ..Container::default()
        };
        let request = CreateContainerRequest {
            container: Some(container),
        };
        self.containers()
            .create(request)
            .await
            .map_err(containerd("create container"))?;
        Ok(())
    }

    /// Deletes the manager's record. Nothing there is fine.
    pub async fn delete_container(&self, id: &str) -> Result<()> {
        let request = DeleteContainerRequest { id: id.into() };
        let result = self
            .containers()
            .delete(request)
            .await
            .map_err(containerd("delete container"));
        gone_is_fine(result.map(drop))
    }

    /// Ids of all containers in our namespace.
    pub async fn list_containers(&self) -> Result<Vec<String>> {
        let request = ListContainersRequest::default();
        let answer = self
            .containers()
            .list(request)
            .await
            .map_err(containerd("list containers"))?;
        Ok(answer
            .into_inner()
            .containers
            .into_iter()
            .map(|container| container.id)
            .collect())
    }

    /// Makes the task: shim, namespaces, a process that waits. Returns its pid.
    pub async fn create_task(
        &self,
        id: &str,
        rootfs: Vec<Mount>,
        streams: Streams,
        runtime: &RuntimeChoice,
    ) -> Result<u32> {
        let request = CreateTaskRequest {
            container_id: id.into(),
            rootfs,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            terminal: streams.terminal,
            options: Some(any::pack(&runtime.options)),
            ..CreateTaskRequest::default()
        };
        let answer = self.tasks().create(request).await.map_err(containerd("create task"))?;
        Ok(answer.into_inner().pid)
    }

    /// Lets a process run: the first one where `exec` is empty. Returns its pid.
    pub async fn start(&self, id: &str, exec: &str) -> Result<u32> {
        let request = StartRequest {
            container_id: id.into(),
            exec_id: exec.into(),
        };
        let answer = self.tasks().start(request).await.map_err(containerd("start"))?;
        Ok(answer.into_inner().pid)
    }

    /// Sends a signal to a process, or to all of the container's.
    pub async fn kill(&self, id: &str, exec: &str, signal: u32, all: bool) -> Result<()> {
        let request = KillRequest {
            container_id: id.into(),
            exec_id: exec.into(),
            signal,
            all,
        };
        self.tasks().kill(request).await.map_err(containerd("kill"))?;
        Ok(())
    }

    /// Waits for a process to end. Answers at once where it has.
    pub async fn wait(&self, id: &str, exec: &str) -> Result<Exit> {
        let request = WaitRequest {
            container_id: id.into(),
            exec_id: exec.into(),
        };
        let answer = self
            .tasks()
            .wait(request)
            .await
            .map_err(containerd("wait"))?
            .into_inner();
        Ok(Exit {
            code: answer.exit_status as i32,
            at: timestamp(answer.exited_at),
        })
    }

    /// Deletes a task that has ended. Nothing there is fine.
    pub async fn delete_task(&self, id: &str) -> Result<()> {
        let request = DeleteTaskRequest {
            container_id: id.into(),
        };
        let result = self.tasks().delete(request).await.map_err(containerd("delete task"));
        gone_is_fine(result.map(drop))
    }

    /// Adds a process; `process` is OCI JSON.
    pub async fn exec(&self, id: &str, exec: &str, process: Vec<u8>, streams: Streams) -> Result<()> {
        let request = ExecProcessRequest {
            container_id: id.into(),
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            terminal: streams.terminal,
            spec: Some(json(any::PROCESS, process)),
            exec_id: exec.into(),
        };
        self.tasks().exec(request).await.map_err(containerd("exec"))?;
        Ok(())
    }

    /// Deletes an added process that has ended. Nothing there is fine.
    pub async fn delete_exec(&self, id: &str, exec: &str) -> Result<()> {
        let request = DeleteProcessRequest {
            container_id: id.into(),
            exec_id: exec.into(),
        };
        let result = self
            .tasks()
            .delete_process(request)
            .await
            .map_err(containerd("delete exec"));
        gone_is_fine(result.map(drop))
    }

    /// Sets the size of a process's terminal.
    pub async fn resize(&self, id: &str, exec: &str, height: u32, width: u32) -> Result<()> {
        let request = ResizePtyRequest {
            container_id: id.into(),
            exec_id: exec.into(),
            width,
            height,
        };
        self.tasks().resize_pty(request).await.map_err(containerd("resize"))?;
        Ok(())
    }

    /// Pids of all processes of a container, on this host.
    pub async fn pids(&self, id: &str) -> Result<Vec<u32>> {
        let request = ListPidsRequest {
            container_id: id.into(),
        };
        let answer = self.tasks().list_pids(request).await.map_err(containerd("list pids"))?;
        Ok(answer
            .into_inner()
            .processes
            .into_iter()
            .map(|process| process.pid)
            .collect())
    }

    /// One task; `None` where there is none.
    pub async fn task(&self, id: &str) -> Result<Option<Task>> {
        let request = GetRequest {
            container_id: id.into(),
            exec_id: String::new(),
        };
        match self.tasks().get(request).await.map_err(containerd("get task")) {
            Ok(answer) => Ok(answer.into_inner().process.map(|process| Task {
                id: id.into(),
                pid: process.pid,
                phase: phase(process.status),
            })),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All tasks of our namespace.
    pub async fn list_tasks(&self) -> Result<Vec<Task>> {
        let request = ListTasksRequest::default();
        let answer = self.tasks().list(request).await.map_err(containerd("list tasks"))?;
        let tasks = answer.into_inner().tasks.into_iter().map(|process| Task {
            // The shim's id is the process's own; the container's is empty in a list.
            id: if process.container_id.is_empty() {
                process.id
            } else {
                process.container_id
            },
            pid: process.pid,
            phase: phase(process.status),
        });
        Ok(tasks.collect())
    }

    /// Events from now on.
    pub async fn subscribe(&self, filters: Vec<String>) -> Result<Streaming<Envelope>> {
        let mut client = EventsClient::with_interceptor(self.channel.clone(), self.namespace.clone());
        let answer = client
            .subscribe(SubscribeRequest { filters })
            .await
            .map_err(containerd("subscribe"))?;
        Ok(answer.into_inner())
    }
}

fn json(type_url: &str, value: Vec<u8>) -> Any {
    Any {
        type_url: type_url.into(),
        value,
    }
}

fn gone_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is_gone() => Ok(()),
        other => other,
    }
}

fn phase(status: i32) -> Phase {
    match status {
        1 => Phase::Created,
        2 | 4 | 5 => Phase::Running,
        3 => Phase::Stopped,
        _ => Phase::Unknown,
    }
}

/// The peer's time; now, where it sent none or nonsense.
fn timestamp(wire: Option<prost_types::Timestamp>) -> Timestamp {
    wire.filter(|wire| wire.seconds > 0)
        .and_then(|wire| Timestamp::new(wire.seconds, wire.nanos).ok())
        .unwrap_or_else(Timestamp::now)
}
