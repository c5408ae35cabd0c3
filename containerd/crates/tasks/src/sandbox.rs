//! Sandboxes: groups of containers in one shim, which is started for the group and ended with it.
//!
//! A sandbox stands in the same map as tasks do, under its id: it is found again, missed and cleaned up after in the same way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use davit_shim_api::sandbox::{metrics::Metric, mount::Mount, platform::Platform, sandbox as api};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use protobuf::{
    Message,
    well_known_types::{any::Any, timestamp::Timestamp},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Bundle, CallError, Exit, Role, Shim, TaskError, Tasks, binary,
    connection::Connection,
    tasks::{
        create::{Holder, make_bundle},
        end::{recorded, remove_bundle},
    },
};

/// The state of a sandbox that can take containers, in the words of CRI.
const READY: &str = "SANDBOX_READY";

/// How long a shim may take to end its containers and itself: longer than it gives them.
const SHUT_DOWN: Duration = Duration::from_secs(60);

/// The file in a bundle that says that the sandbox's end was told.
const TOLD: &str = "exit-told";

/// A sandbox to be made.
#[derive(Debug)]
pub struct CreateSandbox {
    /// The namespace of its containers.
    pub namespace: Namespace,
    /// The sandbox.
    pub id: ContainerId,
    /// The name of its runtime, or the path of its shim.
    pub runtime: String,
    /// Its specification, as JSON.
    pub spec: Option<Vec<u8>>,
    /// Options for the runtime.
    pub runtime_options: Option<Any>,
    /// The root file system of its own process.
    pub rootfs: Vec<Mount>,
    /// What a client has to say to the shim about it.
    pub options: Option<Any>,
    /// The network namespace of its containers; may be empty.
    pub netns: String,
    /// Annotations.
    pub annotations: HashMap<String, String>,
}

/// A sandbox that runs.
#[derive(Debug)]
pub struct StartedSandbox {
    /// Its own process; 0 where there is none.
    pub pid: u32,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Where clients reach its shim.
    pub address: String,
    /// The generation of the task service there.
    pub version: u32,
}

impl Tasks {
    /// Makes a sandbox. On failure nothing of it is left.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn create_sandbox(self: &Arc<Self>, sandbox: CreateSandbox) -> Result<(), TaskError> {
        let tasks = self.clone();
        tokio::spawn(async move { tasks.create_sandbox_whole(sandbox).await })
            .await
            .expect("creating a sandbox does not panic")
    }

    async fn create_sandbox_whole(self: Arc<Self>, sandbox: CreateSandbox) -> Result<(), TaskError> {
        self.has_returned(&sandbox.namespace, &sandbox.id).await;
        let taken = |_| TaskError::SandboxExists(sandbox.id.to_string());
        let claim = self.claim(&sandbox.namespace, &sandbox.id).map_err(taken)?;
        let binary = binary::resolve(&sandbox.runtime).map_err(TaskError::NoShim)?;
        let bundle = Bundle::of(Role::Sandbox, &self.root, &self.state, &sandbox.namespace, &sandbox.id);
        make_bundle(bundle.clone(), sandbox.spec.clone()).await?;
        let holder = Holder { binary, sandbox: None };
        let populated = self.populate_sandbox(&bundle, holder, sandbox).await;
        // It stands for a task's only while that is made.
        self.told_creations()
            .remove(&(bundle.namespace.clone(), bundle.id.clone()));
        match populated {
            Ok(shim) => {
                claim.fill(shim);
                Ok(())
            }
            Err(error) => {
                remove_bundle(&bundle).await;
                Err(error)
            }
        }
    }

    async fn populate_sandbox(
        &self,
        bundle: &Bundle,
        holder: Holder,
        sandbox: CreateSandbox,
    ) -> Result<Arc<Shim>, TaskError> {
        let waited_for = CancellationToken::new();
        let options = sandbox.runtime_options.as_ref();
        let shim = self.begin(bundle, holder, options, &waited_for).await?;
        let request = api::CreateSandboxRequest {
            sandbox_id: shim.id(),
            bundle_path: bundle.path.to_string_lossy().into_owned(),
            rootfs: sandbox.rootfs,
            options: sandbox.options.into(),
            netns_path: sandbox.netns,
            annotations: sandbox.annotations,
            ..Default::default()
        };
        let created = match shim.connection() {
            Ok(connection) => connection.call_sandbox("CreateSandbox", &request).await,
            Err(_) => Err(CallError::Closed),
        };
        match created {
            Ok(api::CreateSandboxResponse { .. }) => Ok(shim),
            Err(source) => {
                self.abandon(&shim).await;
                let id = shim.id();
                Err(TaskError::CreateSandbox { id, source })
            }
        }
    }

    /// Ends a shim whose sandbox was not made. One that knows no sandboxes does so as if it had a task.
    async fn abandon(&self, shim: &Shim) {
        self.dismiss(shim).await;
        self.clean_up(&shim.binary, &shim.bundle).await;
    }

    /// The shim of a sandbox; one that is being looked for is waited for.
    pub async fn find_sandbox(&self, namespace: &Namespace, id: &str) -> Result<Arc<Shim>, TaskError> {
        let shim = self.find(namespace, id).await;
        shim.ok()
            .filter(|shim| shim.bundle.role == Role::Sandbox)
            .ok_or_else(|| TaskError::NoSandbox(id.chars().take(200).collect()))
    }

    /// Starts a sandbox. One that cannot be started is removed.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn start_sandbox(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<StartedSandbox, TaskError> {
        let shim = self.find_sandbox(namespace, id).await?;
        let tasks = self.clone();
        tokio::spawn(async move { tasks.start_sandbox_whole(shim).await })
            .await
            .expect("starting a sandbox does not panic")
    }

    async fn start_sandbox_whole(self: Arc<Self>, shim: Arc<Shim>) -> Result<StartedSandbox, TaskError> {
        let response = match shim.start_sandbox().await {
            Ok(response) => response,
            Err(source) => {
                // Who asks twice must not end what runs.
                let runs = shim
                    .sandbox_status(false)
                    .await
                    .is_ok_and(|status| status.state == READY);
                if !runs && let Err(error) = self.shut_down_whole(shim.clone()).await {
                    tracing::warn!(id = %shim.bundle.id, %error, "remove a sandbox that cannot be started");
                }
                let (id, source) = (shim.id(), Box::new(source));
                return Err(TaskError::StartSandbox { id, source });
            }
        };
        let (address, version) = shim.endpoint().await?;
        Ok(StartedSandbox {
            pid: response.pid,
            created_at: response.created_at.into_option(),
            address,
            version,
        })
    }

    /// Ends a sandbox, its shim and whatever containers are left in it.
    ///
    /// Runs to its end even if the caller does not wait for it.
    pub async fn shut_down_sandbox(self: &Arc<Self>, namespace: &Namespace, id: &str) -> Result<(), TaskError> {
        let shim = self.find_sandbox(namespace, id).await?;
        let tasks = self.clone();
        tokio::spawn(async move { tasks.shut_down_whole(shim).await })
            .await
            .expect("ending a sandbox does not panic")
    }

    async fn shut_down_whole(self: Arc<Self>, shim: Arc<Shim>) -> Result<(), TaskError> {
        let connection = shim.connection();
        match shim.shut_down_sandbox().await {
            Ok(()) => {}
            // It has gone, or does not know its sandbox any more.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // It hangs, and is abandoned.
            Err(TaskError::Call(CallError::Late(_))) => {}
            Err(error) => return Err(error),
        }
        if !shim.claim_end() {
            // Whoever has seen the shim's end cleans up.
            self.is_taken_down(&shim).await;
            return Ok(());
        }
        let place = self.place(&shim);
        shim.told_removal().await;
        // Who makes the next sandbox of this id must not meet this one's shim.
        if let Ok(connection) = connection
            && tokio::time::timeout(shim.timeouts.shutdown, connection.closed())
                .await
                .is_err()
        {
            self.abandon(&shim).await;
        }
        // It may have been killed at it, or have left its own container behind.
        let left = self.clean_up(&shim.binary, &shim.bundle).await;
        match shim.sandbox_exit.get() {
            Some(_) => {
                remove_bundle(&shim.bundle).await;
                drop(place);
            }
            None => self.tell(&shim.bundle, &left, place).await,
        }
        shim.gone(shim.sandbox_exit.get().cloned().unwrap_or(left));
        Ok(())
    }

    /// Waits for the end of a sandbox and has it told: nobody else does, for there may be no client that waits.
    pub(crate) async fn tell_exit(self: Arc<Self>, shim: Arc<Shim>) {
        let exit = match shim.wait_sandbox().await {
            Ok(exit) => exit,
            Err(error) => {
                tracing::warn!(id = %shim.bundle.id, %error, "wait for the end of a sandbox");
                return;
            }
        };
        let told = shim.bundle.file(TOLD);
        let is_told = tokio::fs::try_exists(&told).await.unwrap_or(false);
        // Who hears of the end may ask at once how it was.
        let exit = shim.sandbox_exit.get_or_init(|| exit);
        if shim.connection().is_err() {
            // Who has seen the shim's end tells it; the bundle may be the next sandbox's by now.
            return;
        }
        if !is_told && self.announce(&shim.bundle, exit).await.is_ok() {
            // Where it cannot be noted, or the bundle has gone, it is told once more at the worst.
            let _ = tokio::fs::write(told, b"").await;
        }
        shim.removal_is_told();
    }
}

impl Shim {
    async fn sandbox<Q: Message, A: Message>(&self, method: &'static str, request: &Q) -> Result<A, TaskError> {
        let gone = || TaskError::NoSandbox(self.id());
        let connection = self.connection().map_err(|_| gone())?;
        match connection.call_sandbox(method, request).await {
            Err(CallError::Closed) => match self.fate().await {
                Some(_) => Err(gone()),
                None => Err(CallError::Closed.into()),
            },
            result => Ok(result?),
        }
    }

    async fn start_sandbox(&self) -> Result<api::StartSandboxResponse, TaskError> {
        let request = api::StartSandboxRequest {
            sandbox_id: self.id(),
            ..Default::default()
        };
        self.sandbox("StartSandbox", &request).await
    }

    /// Ends the sandbox, which is asked to for so many seconds first.
    pub async fn stop_sandbox(&self, timeout_secs: u32) -> Result<(), TaskError> {
        let request = api::StopSandboxRequest {
            sandbox_id: self.id(),
            timeout_secs,
            ..Default::default()
        };
        let response: Result<api::StopSandboxResponse, _> = self.sandbox("StopSandbox", &request).await;
        response.map(drop)
    }

    async fn shut_down_sandbox(&self) -> Result<(), TaskError> {
        let request = api::ShutdownSandboxRequest {
            sandbox_id: self.id(),
            ..Default::default()
        };
        let Ok(connection) = self.connection() else {
            return Ok(());
        };
        let method = "ShutdownSandbox";
        let asked = tokio::time::timeout(SHUT_DOWN, connection.call_sandbox(method, &request)).await;
        match asked.unwrap_or(Err(CallError::Late(method))) {
            // A shim may end before it has answered.
            Ok(api::ShutdownSandboxResponse { .. }) | Err(CallError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end of the sandbox; with a shim that dies it has ended, too.
    pub async fn wait_sandbox(&self) -> Result<Exit, TaskError> {
        let request = api::WaitSandboxRequest {
            sandbox_id: self.id(),
            ..Default::default()
        };
        loop {
            let connection = match self.connection() {
                Ok(connection) => connection,
                Err(exit) => return Ok(exit),
            };
            let result: Result<api::WaitSandboxResponse, _> = connection.call_sandbox("WaitSandbox", &request).await;
            match result {
                Ok(response) => {
                    return Ok(Exit {
                        pid: 0,
                        status: response.exit_status,
                        at: response.exited_at.into_option(),
                    });
                }
                Err(CallError::Closed) => drop(self.fate().await),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How the sandbox is.
    pub async fn sandbox_status(&self, verbose: bool) -> Result<api::SandboxStatusResponse, TaskError> {
        let request = api::SandboxStatusRequest {
            sandbox_id: self.id(),
            verbose,
            ..Default::default()
        };
        self.sandbox("SandboxStatus", &request).await
    }

    /// What the containers of the sandbox run on.
    pub async fn platform(&self) -> Result<Option<Platform>, TaskError> {
        let request = api::PlatformRequest {
            sandbox_id: self.id(),
            ..Default::default()
        };
        let response: api::PlatformResponse = self.sandbox("Platform", &request).await?;
        Ok(response.platform.into_option())
    }

    /// A sample of what the sandbox uses.
    pub async fn sandbox_metrics(&self) -> Result<Option<Metric>, TaskError> {
        let request = api::SandboxMetricsRequest {
            sandbox_id: self.id(),
            ..Default::default()
        };
        let response: api::SandboxMetricsResponse = self.sandbox("SandboxMetrics", &request).await?;
        Ok(response.metrics.into_option())
    }

    /// Where clients reach the shim, and the generation of the task service there.
    pub async fn endpoint(&self) -> Result<(String, u32), TaskError> {
        let endpoint = recorded(&self.bundle).await.map_err(|source| TaskError::Bundle {
            path: self.bundle.file("bootstrap.json"),
            source,
        })?;
        Ok((endpoint.for_clients(), endpoint.version))
    }
}

/// Asks a shim of an earlier run for its sandbox.
pub(crate) async fn ask(connection: &Connection, sandbox_id: String) -> Result<(), CallError> {
    let request = api::PingRequest {
        sandbox_id,
        ..Default::default()
    };
    let response: Result<api::PingResponse, _> = connection.call_sandbox("PingSandbox", &request).await;
    response.map(drop)
}
