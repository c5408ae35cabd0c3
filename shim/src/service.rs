//! The task service on the wire, in both its generations, and the sandbox service.
//!
//! Whatever changes something runs in a task of its own: the ttrpc server drops a handler when its client goes away, and a
//! container must not be left half-made because a manager died.

mod sandboxes;
mod tasks;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use davit_shim_api::{
    sandbox::{
        sandbox::*,
        sandbox_ttrpc::{self, Sandbox},
    },
    task_v3::{
        shim::*,
        shim_ttrpc::{self, Task},
    },
};
use protobuf::well_known_types::empty::Empty;
use ttrpc::r#async::{Service, TtrpcContext};

pub use self::{sandboxes::Sandboxes, tasks::Tasks};
use crate::error::TaskError;

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

/// Both generations of the task service, and the sandbox service.
///
/// The messages of the generations are the same on the wire, and a method's handler decodes bytes: the handlers of one serve the
/// other.
pub fn services(tasks: &Arc<Tasks>) -> HashMap<String, Service> {
    let under = |name: &str| {
        let service = shim_ttrpc::create_task(Arc::new(TaskService(tasks.clone()))).remove(V3);
        (
            name.to_owned(),
            service.expect("the generated service has its own name"),
        )
    };
    let mut services = HashMap::from([under(V2), under(V3)]);
    let sandboxes = Arc::new(Sandboxes::new(tasks.clone()));
    services.extend(sandbox_ttrpc::create_sandbox(Arc::new(SandboxService(sandboxes))));
    services
}

/// Runs a call to its end even if its caller goes away.
async fn detached<T: Send + 'static>(
    call: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> ttrpc::Result<T> {
    let outcome = tokio::spawn(call).await;
    Ok(outcome.map_err(|error| ttrpc::Error::Others(error.to_string()))??)
}

struct TaskService(Arc<Tasks>);

/// A method that runs to its end even if its caller goes away.
macro_rules! detached {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        #[async_trait]
        impl Task for TaskService {
            $(async fn $method(&self, _: &TtrpcContext, request: $request) -> ttrpc::Result<$response> {
                let tasks = self.0.clone();
                detached(async move { tasks.$method(request).await }).await
            })*

            async fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> ttrpc::Result<WaitResponse> {
                Ok(self.0.wait(request).await?)
            }

            async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
                Ok(self.0.state(&request).await?)
            }

            async fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> ttrpc::Result<PidsResponse> {
                Ok(self.0.pids(&request).await?)
            }

            async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<StatsResponse> {
                Ok(self.0.stats(&request).await?)
            }

            async fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> ttrpc::Result<Empty> {
                Ok(self.0.resize(&request).await?)
            }

            async fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> ttrpc::Result<Empty> {
                Ok(self.0.close_io(&request).await?)
            }

            async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
                Ok(self.0.connect(&request))
            }

            async fn shutdown(&self, _: &TtrpcContext, request: ShutdownRequest) -> ttrpc::Result<Empty> {
                self.0.shut_down(&request.id);
                Ok(Empty::new())
            }
        }
    };
}

detached! {
    create(CreateTaskRequest) -> CreateTaskResponse;
    start(StartRequest) -> StartResponse;
    delete(DeleteRequest) -> DeleteResponse;
    exec(ExecProcessRequest) -> Empty;
    kill(KillRequest) -> Empty;
    pause(PauseRequest) -> Empty;
    resume(ResumeRequest) -> Empty;
    update(UpdateTaskRequest) -> Empty;
    checkpoint(CheckpointTaskRequest) -> Empty;
}

struct SandboxService(Arc<Sandboxes>);

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let sandboxes = self.0.clone();
        detached(async move { sandboxes.create(request).await }).await
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        let sandboxes = self.0.clone();
        detached(async move { sandboxes.start(request).await }).await
    }

    async fn stop_sandbox(&self, _: &TtrpcContext, request: StopSandboxRequest) -> ttrpc::Result<StopSandboxResponse> {
        let sandboxes = self.0.clone();
        detached(async move { sandboxes.stop(request).await }).await
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        let sandboxes = self.0.clone();
        detached(async move { sandboxes.shut_down(request).await }).await
    }

    async fn wait_sandbox(&self, _: &TtrpcContext, request: WaitSandboxRequest) -> ttrpc::Result<WaitSandboxResponse> {
        Ok(self.0.wait(request).await?)
    }

    async fn sandbox_status(
        &self,
        _: &TtrpcContext,
        request: SandboxStatusRequest,
    ) -> ttrpc::Result<SandboxStatusResponse> {
        Ok(self.0.status(&request)?)
    }

    async fn ping_sandbox(&self, _: &TtrpcContext, request: PingRequest) -> ttrpc::Result<PingResponse> {
        Ok(self.0.ping(&request)?)
    }

    async fn platform(&self, _: &TtrpcContext, request: PlatformRequest) -> ttrpc::Result<PlatformResponse> {
        Ok(self.0.platform(&request)?)
    }

    async fn sandbox_metrics(
        &self,
        _: &TtrpcContext,
        request: SandboxMetricsRequest,
    ) -> ttrpc::Result<SandboxMetricsResponse> {
        Ok(self.0.metrics(&request).await?)
    }
}
