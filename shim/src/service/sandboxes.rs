//! The calls of the sandbox service: requests in, answers out.
//!
//! What changes the sandbox is done one at a time.

use std::{
    collections::HashMap,
    env,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use davit_shim_api::sandbox::{metrics::Metric, mount, platform::Platform as WirePlatform, sandbox::*};
use davit_vocabulary::ContainerId;
use protobuf::well_known_types::timestamp::Timestamp as WireTimestamp;
use tokio::{
    sync::Mutex,
    time::{self, Instant},
};

use super::Tasks;
use crate::{
    bootstrap::options_of,
    bundle::Bundle,
    container::{Container, CreateRequest},
    convert,
    error::TaskError,
    exit::{Exit, ExitRecord},
    process::Status,
    rootfs::Mount,
    sandbox::{Phase, Sandbox},
    stdio::StdioRequest,
};

const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;

/// How long killed processes may take to be gone. One that the kernel holds on to must not hold up the call for ever.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// The sandbox of this shim.
#[derive(Debug)]
pub struct Sandboxes {
    tasks: Arc<Tasks>,
    /// Held while the sandbox changes.
    order: Mutex<()>,
}

impl Sandboxes {
    /// A sandbox among these containers, once it is asked for.
    pub fn new(tasks: Arc<Tasks>) -> Self {
        Self {
            tasks,
            order: Mutex::default(),
        }
    }

    pub(super) async fn create(&self, request: CreateSandboxRequest) -> Result<CreateSandboxResponse, TaskError> {
        let _order = self.order.lock().await;
        let id: ContainerId = request.sandbox_id.parse()?;
        match self.tasks.sandbox.held() {
            None => {}
            Some(held) if held.id == id => return Err(TaskError::Exists(id.into())),
            Some(held) => {
                return Err(TaskError::State(format!(
                    "this shim holds sandbox {}",
                    held.id.as_str()
                )));
            }
        }
        if !Path::new(&request.bundle_path).is_absolute() {
            let text = format!("bundle {:?} is not an absolute path", request.bundle_path);
            return Err(TaskError::Invalid(text));
        }
        let bundle = Bundle::new(&request.bundle_path);
        let sandbox = Sandbox {
            id: id.clone(),
            bundle: bundle.path().into(),
            netns: request.netns_path.clone(),
            created_at: jiff::Timestamp::now(),
            has_process: bundle.has_process().map_err(unusable(&bundle))?,
            phase: Phase::Created,
        };
        if sandbox.has_process {
            let container = self.tasks.add(first_process(&id, bundle, request)?).await?;
            self.tasks.sandbox.hold(sandbox);
            self.tasks.end_sandbox_with(container);
        } else {
            check_without_process(&request)?;
            self.tasks.sandbox.hold(sandbox);
        }
        tracing::info!(id = id.as_str(), "sandbox created");
        Ok(CreateSandboxResponse::new())
    }

    pub(super) async fn start(&self, request: StartSandboxRequest) -> Result<StartSandboxResponse, TaskError> {
        let _order = self.order.lock().await;
        let sandbox = self.find(&request.sandbox_id)?;
        match sandbox.phase {
            Phase::Created => {}
            Phase::Ready => return Err(TaskError::State("the sandbox is started already".into())),
            Phase::Stopping | Phase::Stopped(_) => return Err(TaskError::State("the sandbox has ended".into())),
        }
        let pid = match sandbox.has_process {
            true => self.tasks.container(sandbox.id.as_str()).await?.start().await?,
            false => 0,
        };
        self.tasks.sandbox.go_on(Phase::Ready);
        tracing::info!(id = sandbox.id.as_str(), pid, "sandbox started");
        Ok(StartSandboxResponse {
            pid,
            created_at: Some(convert::timestamp(sandbox.created_at)).into(),
            ..Default::default()
        })
    }

    /// Ends every container of the group, and with them the sandbox. They can be asked for, and deleted, afterwards.
    pub(super) async fn stop(&self, request: StopSandboxRequest) -> Result<StopSandboxResponse, TaskError> {
        let _order = self.order.lock().await;
        let sandbox = self.find(&request.sandbox_id)?;
        self.stop_held(&sandbox, Duration::from_secs(request.timeout_secs.into()))
            .await?;
        Ok(StopSandboxResponse::new())
    }

    async fn stop_held(&self, sandbox: &Sandbox, patience: Duration) -> Result<(), TaskError> {
        self.tasks.sandbox.go_on(Phase::Stopping);
        self.end_containers(patience).await?;
        if sandbox.has_process || sandbox.exit().is_some() {
            // The process has ended by now; what is waited for is that this is known.
            self.tasks.sandbox.ended().await;
            return Ok(());
        }
        let exit = Exit::now(0);
        let bundle = Bundle::new(&sandbox.bundle);
        // Should this shim die now, whoever cleans up tells this end.
        ExitRecord { pid: 0, exit }
            .write(&bundle.exit_file())
            .map_err(unusable(&bundle))?;
        self.tasks.sandbox.go_on(Phase::Stopped(exit));
        tracing::info!(id = sandbox.id.as_str(), "sandbox stopped");
        Ok(())
    }

    /// First with a request to end, as far as `patience` is granted, then without one.
    async fn end_containers(&self, patience: Duration) -> Result<(), TaskError> {
        self.tasks.end_creations().await;
        let deadline = Instant::now() + patience;
        if !patience.is_zero() {
            self.signal_all(SIGTERM).await;
            // An error says that some have not ended.
            let _ = time::timeout_at(deadline, self.all_ended()).await;
        }
        self.signal_all(SIGKILL).await;
        let ended = time::timeout(LAST_WAIT, self.all_ended()).await;
        ended.map_err(|_| TaskError::State("a container of the sandbox does not end".into()))
    }

    async fn signal_all(&self, number: u32) {
        for container in self.living() {
            match container.kill(number, false).await {
                // One that has ended meanwhile needs no signal.
                Ok(()) | Err(TaskError::Finished) => {}
                Err(error) => tracing::warn!(id = %container.id, number, %error, "signal for the end of the sandbox"),
            }
            // Only now: what is frozen must not go on before it is killed.
            if container.is_paused()
                && let Err(error) = container.resume().await
            {
                tracing::warn!(id = %container.id, %error, "thaw for the end of the sandbox");
            }
        }
    }

    fn living(&self) -> Vec<Arc<Container>> {
        let mut containers = self.tasks.containers();
        containers.retain(|container| {
            container.init.live().is_some() && !matches!(container.init.status(), Status::Stopped(_))
        });
        containers
    }

    async fn all_ended(&self) {
        for container in self.living() {
            container.init.wait().await;
        }
    }

    pub(super) async fn wait(&self, request: WaitSandboxRequest) -> Result<WaitSandboxResponse, TaskError> {
        self.find(&request.sandbox_id)?;
        let exit = self.tasks.sandbox.ended().await;
        Ok(WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: Some(convert::timestamp(exit.at)).into(),
            ..Default::default()
        })
    }

    pub(super) fn status(&self, request: &SandboxStatusRequest) -> Result<SandboxStatusResponse, TaskError> {
        let sandbox = self.find(&request.sandbox_id)?;
        let exited_at = sandbox.exit().map(|exit| convert::timestamp(exit.at));
        Ok(SandboxStatusResponse {
            sandbox_id: sandbox.id.as_str().into(),
            pid: self.pid(&sandbox),
            state: sandbox.state().into(),
            info: match request.verbose {
                true => self.info(&sandbox),
                false => HashMap::new(),
            },
            created_at: Some(convert::timestamp(sandbox.created_at)).into(),
            exited_at: exited_at.into(),
            ..Default::default()
        })
    }

    /// The process that is the sandbox's own; 0 where there is none.
    fn pid(&self, sandbox: &Sandbox) -> u32 {
        let containers = self.tasks.containers();
        let own = containers
            .iter()
            .find(|container| sandbox.has_process && container.id == sandbox.id);
        own.map_or(0, |container| container.init.pid())
    }

    fn info(&self, sandbox: &Sandbox) -> HashMap<String, String> {
        let mut ids: Vec<_> = self
            .tasks
            .containers()
            .iter()
            .map(|container| container.id.to_string())
            .collect();
        ids.sort();
        HashMap::from([
            ("shim_pid".into(), std::process::id().to_string()),
            ("netns_path".into(), sandbox.netns.clone()),
            ("containers".into(), ids.join(",")),
        ])
    }

    pub(super) fn ping(&self, request: &PingRequest) -> Result<PingResponse, TaskError> {
        self.find(&request.sandbox_id)?;
        Ok(PingResponse::new())
    }

    pub(super) fn platform(&self, request: &PlatformRequest) -> Result<PlatformResponse, TaskError> {
        self.find(&request.sandbox_id)?;
        let (architecture, variant) = match env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", ""),
            "arm" => ("arm", "v7"),
            other => (other, ""),
        };
        Ok(PlatformResponse {
            platform: Some(WirePlatform {
                os: "linux".into(),
                architecture: architecture.into(),
                variant: variant.into(),
                ..Default::default()
            })
            .into(),
            ..Default::default()
        })
    }

    /// Of its own process: the containers have metrics of their own.
    pub(super) async fn metrics(&self, request: &SandboxMetricsRequest) -> Result<SandboxMetricsResponse, TaskError> {
        let sandbox = self.find(&request.sandbox_id)?;
        if !sandbox.has_process {
            return Err(TaskError::State(
                "the sandbox has no process, and no cgroup, of its own".into(),
            ));
        }
        let container = self.tasks.container(sandbox.id.as_str()).await?;
        let cgroup = container.cgroup();
        let cgroup = cgroup.ok_or_else(|| TaskError::State("the sandbox has no cgroup of its own".into()))?;
        let metric = Metric {
            timestamp: Some(WireTimestamp::from(SystemTime::now())).into(),
            id: sandbox.id.as_str().into(),
            data: Some(cgroup.metrics()).into(),
            ..Default::default()
        };
        Ok(SandboxMetricsResponse {
            metrics: Some(metric).into(),
            ..Default::default()
        })
    }

    /// Ends and deletes whatever is left of the group, and then the shim.
    pub(super) async fn shut_down(
        &self,
        request: ShutdownSandboxRequest,
    ) -> Result<ShutdownSandboxResponse, TaskError> {
        let _order = self.order.lock().await;
        let sandbox = self.find(&request.sandbox_id)?;
        self.stop_held(&sandbox, Duration::ZERO).await?;
        // Its own process last: the others may use its namespaces.
        let (own, others): (Vec<_>, Vec<_>) = self
            .tasks
            .containers()
            .into_iter()
            .partition(|container| container.id == sandbox.id);
        for container in others.into_iter().chain(own) {
            if let Err(error) = self.tasks.remove(&container).await {
                // Whoever cleans up after its shim tries again.
                tracing::warn!(id = %container.id, %error, "container is left behind");
            }
        }
        self.tasks.end_soon_if(|_| true);
        Ok(ShutdownSandboxResponse::new())
    }

    fn find(&self, id: &str) -> Result<Sandbox, TaskError> {
        let held = self.tasks.sandbox.held();
        held.filter(|sandbox| sandbox.id.as_str() == id)
            .ok_or_else(|| TaskError::NoSandbox(id.into()))
    }
}

/// The sandbox's own process, as a container of its id.
fn first_process(id: &ContainerId, bundle: Bundle, request: CreateSandboxRequest) -> Result<CreateRequest, TaskError> {
    let network = bundle.network_namespace().map_err(unusable(&bundle))?;
    if !request.netns_path.is_empty() && network.as_deref() != Some(request.netns_path.as_str()) {
        return Err(TaskError::Invalid(format!(
            "the sandbox's specification does not join its network namespace {:?}",
            request.netns_path
        )));
    }
    let given = request.options.as_ref().map(options_of).transpose()?.flatten();
    let options = match given {
        Some(options) => options,
        None => bundle.stored_options().map_err(unusable(&bundle))?,
    };
    Ok(CreateRequest {
        id: id.clone(),
        bundle,
        rootfs: request.rootfs.into_iter().map(mounted).collect(),
        stdio: StdioRequest::new(false, Default::default())?,
        checkpoint: None,
        options,
    })
}

/// What cannot be honoured without a process is refused by its name.
fn check_without_process(request: &CreateSandboxRequest) -> Result<(), TaskError> {
    // Options of another type ask for what is not offered here.
    request.options.as_ref().map(options_of).transpose()?;
    if !request.rootfs.is_empty() {
        let text = "a root file system of a sandbox whose specification has no process";
        return Err(TaskError::Unsupported(text.into()));
    }
    Ok(())
}

fn mounted(mount: mount::Mount) -> Mount {
    Mount {
        kind: mount.type_,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    }
}

fn unusable(bundle: &Bundle) -> impl FnOnce(std::io::Error) -> TaskError {
    TaskError::io(format!("cannot use the bundle {}", bundle.path().display()))
}
