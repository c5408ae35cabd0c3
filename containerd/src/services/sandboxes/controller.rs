//! `containerd.services.sandbox.v1.Controller`: passes calls on to the shim that holds the sandbox.
//!
//! There is one controller, `shim`. containerd refuses a call that names none; here the namespace's default is meant, or the only
//! one there is, so that `ctr sandboxes` works, which names none. For the same reason a sandbox that is recorded, but not made yet,
//! is made when it is started.

use std::{sync::Arc, time::SystemTime};

use davit_containerd_api::{
    events::{SandboxCreate, SandboxStart},
    services::sandbox::v1::{
        ControllerCreateRequest, ControllerCreateResponse, ControllerMetricsRequest, ControllerMetricsResponse,
        ControllerPlatformRequest, ControllerPlatformResponse, ControllerShutdownRequest, ControllerShutdownResponse,
        ControllerStartRequest, ControllerStartResponse, ControllerStatusRequest, ControllerStatusResponse,
        ControllerStopRequest, ControllerStopResponse, ControllerUpdateRequest, ControllerUpdateResponse,
        ControllerWaitRequest, ControllerWaitResponse,
        controller_server::{Controller as Api, ControllerServer},
    },
};
use davit_metadata::{Database, namespaces};
use davit_tasks::{CreateSandbox, Shim, TaskError, Tasks};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::convert;
use crate::{
    daemon::Daemon,
    events::EventBus,
    kept::RecordError,
    sandboxes::Sandboxes,
    services::{blocking, limited, namespace, status},
};

/// The controller that there is.
const SHIM: &str = "shim";

/// The label of a namespace that names the controller of its sandboxes.
const DEFAULT: &str = "containerd.io/defaults/sandboxer";

/// Fields of a sandbox that are in its record alone: its shim is not told of them.
const IN_THE_RECORD: [&str; 2] = ["labels", "extensions"];

struct Service {
    stop: CancellationToken,
    database: Arc<Database>,
    sandboxes: Sandboxes,
    tasks: Arc<Tasks>,
    events: EventBus,
}

/// The service.
pub fn controller(daemon: &Daemon) -> ControllerServer<impl Api> {
    limited!(ControllerServer::new(Service {
        stop: daemon.stop.clone(),
        database: daemon.database.clone(),
        sandboxes: Sandboxes::new(daemon.database.clone()),
        tasks: daemon.tasks.clone(),
        events: daemon.events.clone(),
    }))
}

fn failed(error: TaskError) -> Status {
    status(error.kind(), error)
}

impl Service {
    /// Whether the controller that is meant is the one that there is.
    async fn check(&self, namespace: &Namespace, sandboxer: String) -> Result<(), Status> {
        let meant = match sandboxer.as_str() {
            "" => self.default_of(namespace).await?,
            _ => sandboxer,
        };
        match meant.as_str() {
            SHIM => Ok(()),
            other => Err(Status::not_found(format!(
                "not found: failed to get sandbox controller by {other}"
            ))),
        }
    }

    async fn default_of(&self, namespace: &Namespace) -> Result<String, Status> {
        let (database, name) = (self.database.clone(), namespace.clone());
        let labels = blocking(move || database.read(|view| namespaces::labels(view, &name))).await;
        match labels {
            Ok(mut labels) => Ok(labels.remove(DEFAULT).unwrap_or_else(|| SHIM.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(SHIM.into()),
            Err(error) => Err(status(error.kind(), error)),
        }
    }

    async fn shim(&self, namespace: &Namespace, sandboxer: String, id: &str) -> Result<Arc<Shim>, Status> {
        self.check(namespace, sandboxer).await?;
        self.tasks.find_sandbox(namespace, id).await.map_err(failed)
    }

    /// What is recorded of a sandbox, as what is to be made.
    async fn recorded(&self, namespace: &Namespace, id: &ContainerId) -> Result<CreateSandbox, RecordError> {
        let (sandboxes, of, asked) = (self.sandboxes.clone(), namespace.clone(), id.clone());
        let record = blocking(move || sandboxes.get(&of, &asked)).await?;
        Ok(convert::to_make(namespace.clone(), id.clone(), record))
    }

    async fn is_recorded(&self, namespace: &Namespace, id: &str) -> bool {
        let (sandboxes, namespace, id) = (self.sandboxes.clone(), namespace.clone(), id.to_owned());
        blocking(move || sandboxes.get(&namespace, &id)).await.is_ok()
    }

    async fn make(&self, sandbox: CreateSandbox) -> Result<(), Status> {
        let (namespace, id) = (sandbox.namespace.clone(), sandbox.id.clone());
        let (tasks, events) = (self.tasks.clone(), self.events.clone());
        // Told even if the caller does not wait for it.
        let made = tokio::spawn(async move {
            tasks.create_sandbox(sandbox).await?;
            let event = SandboxCreate { sandbox_id: id.into() };
            events.publish(&namespace, "/sandboxes/create", &event);
            Ok(())
        });
        made.await.expect("making a sandbox does not panic").map_err(failed)
    }

    /// Makes a sandbox that is recorded and not there.
    async fn make_recorded(&self, namespace: &Namespace, id: &str) -> Result<(), Status> {
        if self.tasks.find_sandbox(namespace, id).await.is_ok() {
            return Ok(());
        }
        let unknown = || failed(TaskError::NoSandbox(id.chars().take(200).collect()));
        let parsed = id.parse().map_err(|_| unknown())?;
        match self.recorded(namespace, &parsed).await {
            Ok(sandbox) => self.make(sandbox).await,
            Err(error) if error.kind() == ErrorKind::NotFound => Err(unknown()),
            Err(error) => Err(status(error.kind(), error)),
        }
    }
}

#[tonic::async_trait]
impl Api for Service {
    async fn create(
        &self,
        request: Request<ControllerCreateRequest>,
    ) -> Result<Response<ControllerCreateResponse>, Status> {
        let namespace = namespace(&request)?;
        let mut request = request.into_inner();
        self.check(&namespace, std::mem::take(&mut request.sandboxer)).await?;
        let id = convert::id(&request)?;
        let sandbox = match request.sandbox.take() {
            Some(given) => {
                let (_, record) = convert::from_wire(given, SystemTime::now());
                convert::to_make(namespace, id.clone(), record)
            }
            None => {
                let recorded = self.recorded(&namespace, &id).await;
                recorded.map_err(|error| status(error.kind(), error))?
            }
        };
        self.make(convert::with(sandbox, request)).await?;
        Ok(Response::new(ControllerCreateResponse { sandbox_id: id.into() }))
    }

    async fn start(
        &self,
        request: Request<ControllerStartRequest>,
    ) -> Result<Response<ControllerStartResponse>, Status> {
        let namespace = namespace(&request)?;
        let ControllerStartRequest { sandbox_id, sandboxer } = request.into_inner();
        self.check(&namespace, sandboxer).await?;
        self.make_recorded(&namespace, &sandbox_id).await?;
        let (tasks, events, id) = (self.tasks.clone(), self.events.clone(), sandbox_id.clone());
        // Told even if the caller does not wait for it.
        let starting = tokio::spawn(async move {
            let started = tasks.start_sandbox(&namespace, &id).await?;
            let event = SandboxStart { sandbox_id: id };
            events.publish(&namespace, "/sandboxes/start", &event);
            Ok(started)
        });
        let started = starting.await.expect("starting a sandbox does not panic");
        Ok(Response::new(convert::started(sandbox_id, started.map_err(failed)?)))
    }

    async fn platform(
        &self,
        request: Request<ControllerPlatformRequest>,
    ) -> Result<Response<ControllerPlatformResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, request.sandboxer, &request.sandbox_id).await?;
        let platform = shim.platform().await.map_err(failed)?;
        Ok(Response::new(ControllerPlatformResponse {
            platform: platform.map(convert::platform),
        }))
    }

    /// One that is not there has been stopped.
    async fn stop(&self, request: Request<ControllerStopRequest>) -> Result<Response<ControllerStopResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        self.check(&namespace, request.sandboxer).await?;
        if let Ok(shim) = self.tasks.find_sandbox(&namespace, &request.sandbox_id).await {
            match shim.stop_sandbox(request.timeout_secs).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(status(error.kind(), format!("failed to stop sandbox: {error}")));
                }
                _ => {}
            }
        }
        Ok(Response::new(ControllerStopResponse {}))
    }

    async fn wait(&self, request: Request<ControllerWaitRequest>) -> Result<Response<ControllerWaitResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, request.sandboxer, &request.sandbox_id).await?;
        let exit = self.stop.run_until_cancelled(shim.wait_sandbox()).await;
        let exit = exit.ok_or_else(|| Status::unavailable("daemon stops"))?;
        let exit = exit.map_err(|error| {
            let text = format!("failed to wait sandbox {}: {error}", request.sandbox_id);
            status(error.kind(), text)
        })?;
        Ok(Response::new(convert::waited(exit)))
    }

    /// As with containerd, one that is not there has no state, and has ended by now.
    async fn status(
        &self,
        request: Request<ControllerStatusRequest>,
    ) -> Result<Response<ControllerStatusResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        self.check(&namespace, request.sandboxer).await?;
        let Ok(shim) = self.tasks.find_sandbox(&namespace, &request.sandbox_id).await else {
            return Ok(Response::new(convert::without_status(request.sandbox_id)));
        };
        let found = shim.sandbox_status(request.verbose).await.map_err(|error| {
            let text = format!("failed to query sandbox {} status: {error}", request.sandbox_id);
            status(error.kind(), text)
        })?;
        let endpoint = shim.endpoint().await.map_err(failed)?;
        Ok(Response::new(convert::status(found, endpoint)))
    }

    /// One that is recorded and has died is shut down; containerd's clients keep the record of one that is not found.
    async fn shutdown(
        &self,
        request: Request<ControllerShutdownRequest>,
    ) -> Result<Response<ControllerShutdownResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        self.check(&namespace, request.sandboxer).await?;
        let id = &request.sandbox_id;
        match self.tasks.shut_down_sandbox(&namespace, id).await {
            Err(TaskError::NoSandbox(_)) if self.is_recorded(&namespace, id).await => {}
            ended => ended.map_err(|error| status(error.kind(), format!("failed to shutdown sandbox: {error}")))?,
        }
        Ok(Response::new(ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<ControllerMetricsRequest>,
    ) -> Result<Response<ControllerMetricsResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        let shim = self.shim(&namespace, request.sandboxer, &request.sandbox_id).await?;
        let metrics = shim.sandbox_metrics().await.map_err(failed)?;
        Ok(Response::new(ControllerMetricsResponse {
            metrics: metrics.map(convert::metric),
        }))
    }

    /// Labels and extensions are in the record alone; a shim is not told of them. What it was told it cannot be told anew.
    async fn update(
        &self,
        request: Request<ControllerUpdateRequest>,
    ) -> Result<Response<ControllerUpdateResponse>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        self.shim(&namespace, request.sandboxer, &request.sandbox_id).await?;
        if request.sandbox.is_none() {
            return Err(Status::invalid_argument("sandbox can not be nil: invalid argument"));
        }
        let first = |field: &str| field.split('.').next().unwrap_or_default().to_owned();
        let refused = request
            .fields
            .iter()
            .find(|field| !IN_THE_RECORD.contains(&first(field).as_str()));
        match refused {
            None => Ok(Response::new(ControllerUpdateResponse {})),
            Some(field) => Err(Status::unimplemented(format!(
                "update of {field:?} of a running sandbox: not implemented"
            ))),
        }
    }
}
