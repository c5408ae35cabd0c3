//! The services on the wire: tasks, in both their generations, the sandbox, and the upgrade.
//!
//! Whatever changes a container runs to its end even if its caller goes away; [`crate::server`] sees to that.

mod sandboxes;
mod tasks;
mod upgrade;

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
    upgrade::upgrade_ttrpc,
};
use protobuf::well_known_types::empty::Empty;
use ttrpc::r#async::{Service, TtrpcContext};

use self::upgrade::UpgradeService;
pub use self::{
    sandboxes::Sandboxes,
    tasks::{Tasks, TasksState},
    upgrade::{Asked, Upgrader},
};

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

/// All services.
///
/// The messages of both generations of tasks are the same on the wire, and a method's handler decodes bytes: the handlers of one
/// serve the other.
pub fn services(tasks: &Arc<Tasks>, upgrader: &Arc<Upgrader>) -> HashMap<String, Service> {
    let under = |name: &str| {
        let service = shim_ttrpc::create_task(Arc::new(TaskService(tasks.clone()))).remove(V3);
        (
            name.to_owned(),
            service.expect("the generated service has its own name"),
        )
    };
    let mut services = upgrade_ttrpc::create_upgrade(Arc::new(UpgradeService(upgrader.clone())));
    services.extend([under(V2), under(V3)]);
    let sandboxes = SandboxService(Arc::new(Sandboxes::new(tasks.clone())));
    services.extend(sandbox_ttrpc::create_sandbox(Arc::new(sandboxes)));
    services
}

struct TaskService(Arc<Tasks>);

#[async_trait]
impl Task for TaskService {
    async fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        Ok(self.0.create(request).await?)
    }

    async fn start(&self, _: &TtrpcContext, request: StartRequest) -> ttrpc::Result<StartResponse> {
        Ok(self.0.start(request).await?)
    }

    async fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        Ok(self.0.delete(request).await?)
    }

    async fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.exec(request).await?)
    }

    async fn kill(&self, _: &TtrpcContext, request: KillRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.kill(request).await?)
    }

    async fn pause(&self, _: &TtrpcContext, request: PauseRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.pause(request).await?)
    }

    async fn resume(&self, _: &TtrpcContext, request: ResumeRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.resume(request).await?)
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.update(request).await?)
    }

    async fn checkpoint(&self, _: &TtrpcContext, request: CheckpointTaskRequest) -> ttrpc::Result<Empty> {
        Ok(self.0.checkpoint(request).await?)
    }

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

struct SandboxService(Arc<Sandboxes>);

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _: &TtrpcContext,
        request: CreateSandboxRequest,
    ) -> ttrpc::Result<CreateSandboxResponse> {
        Ok(self.0.create(request).await?)
    }

    async fn start_sandbox(
        &self,
        _: &TtrpcContext,
        request: StartSandboxRequest,
    ) -> ttrpc::Result<StartSandboxResponse> {
        Ok(self.0.start(request).await?)
    }

    async fn stop_sandbox(&self, _: &TtrpcContext, request: StopSandboxRequest) -> ttrpc::Result<StopSandboxResponse> {
        Ok(self.0.stop(request).await?)
    }

    async fn shutdown_sandbox(
        &self,
        _: &TtrpcContext,
        request: ShutdownSandboxRequest,
    ) -> ttrpc::Result<ShutdownSandboxResponse> {
        Ok(self.0.shut_down(request).await?)
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
