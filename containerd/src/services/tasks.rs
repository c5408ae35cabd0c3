//! `containerd.services.tasks.v1.Tasks`: passes calls on to the shim that holds the container.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use davit_containerd_api::{
    services::tasks::v1::{
        CheckpointTaskRequest, CheckpointTaskResponse, CloseIoRequest, CreateTaskRequest, CreateTaskResponse,
        DeleteProcessRequest, DeleteResponse, DeleteTaskRequest, ExecProcessRequest, GetRequest, GetResponse,
        KillRequest, ListPidsRequest, ListPidsResponse, ListTasksRequest, ListTasksResponse, MetricsRequest,
        MetricsResponse, PauseTaskRequest, ResizePtyRequest, ResumeTaskRequest, StartRequest, StartResponse,
        UpdateTaskRequest, WaitRequest, WaitResponse,
        tasks_server::{Tasks as Api, TasksServer},
    },
    types::Metric,
    v1::types::Process,
};
use davit_content::ContentStore;
use davit_metadata::{ContainerRecord, filter::Filters};
use davit_tasks::{Role, Shim, TaskError, Tasks};
use davit_vocabulary::{ContainerId, ErrorKind, ExecId, Namespace};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{blocking, in_words, limited, namespace, status, storage::scope};
use crate::{checkpoints::Checkpoints, containers::Containers, daemon::Daemon, sandboxes::Sandboxes};

mod checkpoint;
mod convert;

pub(super) use convert::{any_to_shim, any_to_wire as shim_any_to_wire, time_to_wire};

/// How long a list waits for shims of an earlier run; one that takes longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(1);

struct Service {
    stop: CancellationToken,
    tasks: Arc<Tasks>,
    containers: Containers,
    sandboxes: Sandboxes,
    content: ContentStore,
    checkpoints: Checkpoints,
}

/// The service.
pub fn service(daemon: &Daemon) -> TasksServer<impl Api> {
    limited!(TasksServer::new(Service {
        stop: daemon.stop.clone(),
        tasks: daemon.tasks.clone(),
        containers: Containers::new(daemon.database.clone()),
        sandboxes: Sandboxes::new(daemon.database.clone()),
        content: daemon.storage.content.clone(),
        checkpoints: daemon.checkpoints.clone(),
    }))
}

fn failed(error: TaskError) -> Status {
    status(error.kind(), error)
}

/// Empty for the task itself.
fn check_exec_id(id: &str) -> Result<(), Status> {
    if id.is_empty() {
        return Err(Status::invalid_argument("exec id cannot be empty"));
    }
    match id.parse::<ExecId>() {
        Ok(_) => Ok(()),
        Err(error) => Err(Status::invalid_argument(format!(
            "invalid exec id {id}: {error}: invalid argument"
        ))),
    }
}

impl Service {
    async fn container(&self, namespace: &Namespace, id: &str) -> Result<ContainerRecord, Status> {
        let (containers, namespace, id) = (self.containers.clone(), namespace.clone(), id.to_owned());
        blocking(move || containers.get(&namespace, &id))
            .await
            .map_err(|error| status(error.kind(), error))
    }

    /// The sandbox that a container belongs to, if there is a record of it.
    async fn sandbox(&self, namespace: &Namespace, container: &ContainerRecord) -> Result<Option<ContainerId>, Status> {
        if container.sandbox.is_empty() {
            return Ok(None);
        }
        let (sandboxes, namespace, id) = (self.sandboxes.clone(), namespace.clone(), container.sandbox.clone());
        blocking(move || sandboxes.known(&namespace, &id))
            .await
            .map_err(|error| status(error.kind(), error))
    }

    /// The shim of a container. Where there is none, the error says whether at least the container exists. The process of a sandbox
    /// is listed, but without a container it is its controller's alone.
    async fn shim(&self, namespace: &Namespace, id: &str) -> Result<Arc<Shim>, Status> {
        match self.tasks.find(namespace, id).await {
            Ok(shim) if shim.bundle.role == Role::Sandbox => {
                self.container(namespace, id).await?;
                Ok(shim)
            }
            Ok(shim) => Ok(shim),
            Err(error) => {
                self.container(namespace, id).await?;
                Err(failed(error))
            }
        }
    }

    /// The state of a process, unknown where its shim does not say; nothing where it has gone meanwhile.
    async fn listed(shim: Arc<Shim>) -> Option<Process> {
        match shim.state("").await {
            Ok(state) => Some(convert::process(&shim.bundle.id, "", state)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(id = %shim.bundle.id, %error, "state of a task");
                Some(convert::unknown(&shim.bundle.id))
            }
        }
    }

    async fn metric(shim: Arc<Shim>) -> Option<Metric> {
        let timestamp = SystemTime::now();
        match shim.stats().await {
            Ok(data) => Some(Metric {
                timestamp: Some(timestamp.into()),
                id: shim.bundle.id.to_string(),
                data: data.map(convert::any_to_wire),
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(id = %shim.bundle.id, %error, "metrics of a task");
                None
            }
        }
    }
}

/// Why a call on a process was refused: that there is no such exec is the better reason than the state of its container.
async fn better(shim: &Shim, exec_id: &str, error: TaskError) -> Status {
    if exec_id.is_empty() || error.kind() == ErrorKind::NotFound {
        return failed(error);
    }
    match shim.state(exec_id).await {
        Err(missing) if missing.kind() == ErrorKind::NotFound => failed(missing),
        _ => failed(error),
    }
}

/// Asks all shims at once, and keeps their order.
async fn ask_all<T, F>(shims: Vec<Arc<Shim>>, ask: impl Fn(Arc<Shim>) -> F) -> Vec<T>
where
    F: Future<Output = Option<T>>,
{
    let answers = futures::future::join_all(shims.into_iter().map(ask)).await;
    answers.into_iter().flatten().collect()
}

#[tonic::async_trait]
impl Api for Service {
    async fn create(&self, request: Request<CreateTaskRequest>) -> Result<Response<CreateTaskResponse>, Status> {
        let scope = scope(&request)?;
        let mut request = request.into_inner();
        let container = self.container(&scope.namespace, &request.container_id).await?;
        let checkpoint = self.origin(&scope, &mut request).await?;
        let sandbox = self.sandbox(&scope.namespace, &container).await?;
        let task = convert::task(scope.namespace, request, container, checkpoint, sandbox)?;
        let container_id = task.id.to_string();
        let pid = self.tasks.create(task).await.map_err(failed)?;
        Ok(Response::new(CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        let pid = match shim.start(&request.exec_id).await {
            Ok(pid) => pid,
            Err(error) => return Err(better(&shim, &request.exec_id, error).await),
        };
        Ok(Response::new(StartResponse { pid }))
    }

    async fn delete(&self, request: Request<DeleteTaskRequest>) -> Result<Response<DeleteResponse>, Status> {
        let namespace = namespace(&request)?;
        let id = request.into_inner().container_id;
        self.shim(&namespace, &id).await?;
        let exit = self.tasks.delete(&namespace, &id).await;
        let exit = exit.map_err(|error| in_words("failed to delete task", failed(error)))?;
        Ok(Response::new(convert::deleted(String::new(), exit)))
    }

    async fn delete_process(&self, request: Request<DeleteProcessRequest>) -> Result<Response<DeleteResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        check_exec_id(&request.exec_id)?;
        let shim = self.shim(&namespace, &request.container_id).await?;
        let exit = shim.delete(&request.exec_id).await.map_err(failed)?;
        davit_fail_point::reach("manager.delete-exec.removed");
        Ok(Response::new(convert::deleted(request.exec_id, exit)))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        let state = shim.state(&request.exec_id).await.map_err(failed)?;
        Ok(Response::new(GetResponse {
            process: Some(convert::process(&shim.bundle.id, &request.exec_id, state)),
        }))
    }

    async fn list(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        let namespace = namespace(&request)?;
        let (shims, returning) = self.tasks.known(&namespace, PATIENCE).await;
        let mut tasks = ask_all(shims, Self::listed).await;
        tasks.extend(returning.iter().map(convert::unknown));
        Ok(Response::new(ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        shim.kill(&request.exec_id, request.signal, request.all)
            .await
            .map_err(failed)?;
        Ok(Response::new(()))
    }

    async fn exec(&self, request: Request<ExecProcessRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        check_exec_id(&request.exec_id)?;
        let shim = self.shim(&namespace, &request.container_id).await?;
        if request.spec.is_none() {
            // containerd's own shim dies of it, and its container with it.
            return Err(Status::invalid_argument(
                "exec process has no specification: invalid argument",
            ));
        }
        shim.exec(convert::exec(request)).await.map_err(failed)?;
        davit_fail_point::reach("manager.exec.added");
        Ok(Response::new(()))
    }

    async fn resize_pty(&self, request: Request<ResizePtyRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        let result = shim.resize(&request.exec_id, request.width, request.height).await;
        result.map_err(failed).map(Response::new)
    }

    async fn close_io(&self, request: Request<CloseIoRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        if request.stdin {
            if !request.exec_id.is_empty() {
                // containerd's own shim gives no kind for an exec that it does not know, but here.
                shim.state(&request.exec_id).await.map_err(failed)?;
            }
            shim.close_stdin(&request.exec_id).await.map_err(failed)?;
        }
        Ok(Response::new(()))
    }

    async fn pause(&self, request: Request<PauseTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let shim = self.shim(&namespace, &request.into_inner().container_id).await?;
        shim.pause().await.map_err(failed).map(Response::new)
    }

    async fn resume(&self, request: Request<ResumeTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let shim = self.shim(&namespace, &request.into_inner().container_id).await?;
        shim.resume().await.map_err(failed).map(Response::new)
    }

    async fn list_pids(&self, request: Request<ListPidsRequest>) -> Result<Response<ListPidsResponse>, Status> {
        let namespace = namespace(&request)?;
        let shim = self.shim(&namespace, &request.into_inner().container_id).await?;
        let processes = convert::pids(shim.pids().await.map_err(failed)?);
        Ok(Response::new(ListPidsResponse { processes }))
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointTaskRequest>,
    ) -> Result<Response<CheckpointTaskResponse>, Status> {
        let scope = scope(&request)?;
        let descriptors = self.write_down(scope, request.into_inner()).await?;
        Ok(Response::new(CheckpointTaskResponse { descriptors }))
    }

    async fn update(&self, request: Request<UpdateTaskRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        if request.resources.is_none() && request.annotations.is_empty() {
            // Of this, too.
            return Err(Status::invalid_argument("there is nothing to update: invalid argument"));
        }
        shim.update(convert::update(request)).await.map_err(failed)?;
        Ok(Response::new(()))
    }

    async fn metrics(&self, request: Request<MetricsRequest>) -> Result<Response<MetricsResponse>, Status> {
        let namespace = namespace(&request)?;
        let filters = Filters::parse(&request.into_inner().filters)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (mut shims, _) = self.tasks.known(&namespace, PATIENCE).await;
        shims.retain(|shim| filters.matches(&convert::Filtered(shim)));
        let metrics = ask_all(shims, Self::metric).await;
        Ok(Response::new(MetricsResponse { metrics }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<WaitResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, &request.container_id).await?;
        let exit = self.stop.run_until_cancelled(shim.wait(&request.exec_id)).await;
        let exit = exit
            .ok_or_else(|| Status::unavailable("daemon stops"))?
            .map_err(failed)?;
        Ok(Response::new(WaitResponse {
            exit_status: exit.status,
            exited_at: exit.at.map(convert::time_to_wire),
        }))
    }
}
