//! A manager of either kind, with our shim or containerd's, and the calls of its controller.

use std::{collections::HashMap, fs, path::PathBuf, process::Child};

use davit_containerd_api::{
    services::sandbox::v1::{
        ControllerCreateRequest, ControllerShutdownRequest, ControllerStartRequest, ControllerStartResponse,
        ControllerStatusRequest, ControllerStatusResponse, ControllerStopRequest, ControllerWaitRequest,
        ControllerWaitResponse, StoreCreateRequest, controller_client::ControllerClient, store_client::StoreClient,
    },
    types::{Sandbox, sandbox::Runtime},
};
use davit_integration_tests::{Containerd, Finished, Manager, sweep, wait};
use prost_types::Any;
use serde_json::{Value, json};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};

use super::super::super::{Shim, World, topics_of};
use super::super::channel;

/// Which manager, and with which shim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Ours with our shim.
    Ours,
    /// Ours with containerd's shim.
    WithContainerdsShim,
    /// containerd with our shim.
    Containerd,
}

enum Running {
    Ours(Manager),
    Containerd(Containerd),
}

/// A manager that runs, and can be killed and started again.
pub struct Rig {
    pub world: World,
    kind: Kind,
    running: Option<Running>,
}

type Interceptor = fn(Request<()>) -> Result<Request<()>, Status>;
type Intercepted = InterceptedService<Channel, Interceptor>;

impl Rig {
    pub fn new(kind: Kind) -> Self {
        let (socket, shim) = match kind {
            Kind::Ours => ("c.sock", Shim::Ours),
            Kind::WithContainerdsShim => ("c.sock", Shim::Containerds),
            Kind::Containerd => ("rc.sock", Shim::Ours),
        };
        let mut rig = Self {
            world: World::on(socket, shim),
            kind,
            running: None,
        };
        rig.start();
        rig
    }

    pub fn start(&mut self) {
        let scratch = &self.world.scratch;
        self.running = Some(match self.kind {
            Kind::Ours | Kind::WithContainerdsShim => Running::Ours(self.world.shim.manager(scratch)),
            Kind::Containerd => Running::Containerd(Containerd::start(scratch)),
        });
        // It listens before it serves.
        wait::until_true("the manager serves", 30, || self.world.ctr(&["version"]).code == 0);
    }

    pub fn kill(&mut self) {
        match self.running.take() {
            Some(Running::Ours(manager)) => manager.kill(),
            Some(Running::Containerd(containerd)) => containerd.kill(),
            None => {}
        }
    }

    /// The path of our shim, where either manager sees it, or the name of containerd's.
    pub fn runtime(&self) -> String {
        if self.kind == Kind::WithContainerdsShim {
            return Shim::Containerds.runtime().into();
        }
        let shim = self.world.scratch.shared_programs().join("containerd-shim-davit-v1");
        shim.to_str().expect("ASCII").into()
    }

    /// `ctr run --detach` of a shell script, with more options.
    pub fn run(&self, options: &[&str], id: &str, script: &str) -> Finished {
        let (runtime, root) = (self.runtime(), self.world.root.to_str().expect("ASCII"));
        let given = ["run", "--detach", "--runtime", &runtime, "--rootfs"];
        self.world
            .ctr(&[&given, options, &[root, id, "/bin/sh", "-c", script]].concat())
    }

    /// Kills a task and removes it.
    pub fn remove(&self, id: &str) {
        self.world.ctr(&["tasks", "kill", "--signal", "KILL", id]).ok();
        self.world.wait_for_status(id, "STOPPED");
        // ctr says how it ended by its own exit code.
        self.world.ctr(&["tasks", "rm", id]);
        assert_eq!(self.world.status(id), "");
    }

    /// The processes of all shims.
    pub fn shims(&self) -> Vec<u32> {
        let is_shim = |pid: &u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = line.split('\0').next();
            program.is_some_and(|program| program.ends_with(self.world.shim.program()))
        };
        let processes = sweep::processes_of(self.world.scratch.path(), &[]);
        processes.into_iter().filter(is_shim).collect()
    }

    pub fn no_shim_is_left(&self) {
        wait::until_true("every shim has ended", 10, || self.shims().is_empty());
    }

    /// Listens to events from now on. Ours tells what was told in its first moments to who comes later, too.
    pub fn listen(&self) -> Heard {
        let (child, path) = self.world.events("events");
        Heard { child, path }
    }

    pub fn sandbox(&self, id: &str, spec: Option<&Value>) -> Sandbox {
        Sandbox {
            sandbox_id: id.into(),
            runtime: Some(Runtime {
                name: self.runtime(),
                options: None,
            }),
            spec: spec.map(|spec| Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
                value: spec.to_string().into_bytes(),
            }),
            labels: HashMap::new(),
            sandboxer: "shim".into(),
            ..Default::default()
        }
    }

    /// The specification of a sandbox whose own process runs a script.
    pub fn spec(&self, id: &str, script: &str) -> Value {
        let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 }
            },
            "root": { "path": self.world.root },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": { "cgroupsPath": format!("/davit-tests/{id}"), "namespaces": namespaces },
        })
    }

    pub async fn controller(&self) -> Controller {
        let channel = channel::to(&self.world.socket).await;
        Controller(ControllerClient::with_interceptor(
            channel,
            channel::in_the_namespace as Interceptor,
        ))
    }

    /// Records a sandbox.
    pub async fn record(&self, sandbox: Sandbox) {
        let channel = channel::to(&self.world.socket).await;
        let mut store = StoreClient::with_interceptor(channel, channel::in_the_namespace as Interceptor);
        let request = StoreCreateRequest { sandbox: Some(sandbox) };
        store.create(request).await.expect("create");
    }

    /// Records, makes and starts a sandbox.
    pub async fn started(&self, id: &str, spec: Option<&Value>) -> ControllerStartResponse {
        let sandbox = self.sandbox(id, spec);
        self.record(sandbox.clone()).await;
        let mut controller = self.controller().await;
        controller.create(sandbox).await.expect("create");
        controller.start(id).await.expect("start")
    }
}

/// What `ctr events` has printed so far.
pub struct Heard {
    child: Child,
    path: PathBuf,
}

impl Heard {
    pub fn text(&self) -> String {
        fs::read_to_string(&self.path).expect("the folder is ours")
    }

    /// Topics of a sandbox's events.
    pub fn of_sandbox(&self, id: &str) -> Vec<String> {
        let text = self.text();
        let of_sandbox = |line: &&str| line.contains("/sandboxes/") && line.contains(&format!("{id:?}"));
        let topic = |line: &str| {
            line.split_whitespace()
                .find(|word| word.starts_with('/'))
                .map(str::to_owned)
        };
        text.lines().filter(of_sandbox).filter_map(topic).collect()
    }

    /// Topics of a task's events.
    pub fn of_task(&self, id: &str) -> Vec<String> {
        topics_of(&self.text(), id)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        // Whoever sweeps would end it, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The controller `shim`.
#[derive(Clone)]
pub struct Controller(pub ControllerClient<Intercepted>);

fn shim() -> String {
    "shim".into()
}

impl Controller {
    pub async fn create(&mut self, sandbox: Sandbox) -> Result<(), Status> {
        let request = ControllerCreateRequest {
            sandbox_id: sandbox.sandbox_id.clone(),
            sandbox: Some(sandbox),
            sandboxer: shim(),
            ..Default::default()
        };
        self.0.create(request).await.map(drop)
    }

    pub async fn start(&mut self, id: &str) -> Result<ControllerStartResponse, Status> {
        let request = ControllerStartRequest {
            sandbox_id: id.into(),
            sandboxer: shim(),
        };
        Ok(self.0.start(request).await?.into_inner())
    }

    pub async fn stop(&mut self, id: &str, timeout_secs: u32) -> Result<(), Status> {
        let request = ControllerStopRequest {
            sandbox_id: id.into(),
            sandboxer: shim(),
            timeout_secs,
        };
        self.0.stop(request).await.map(drop)
    }

    pub async fn wait(&mut self, id: &str) -> Result<ControllerWaitResponse, Status> {
        let request = ControllerWaitRequest {
            sandbox_id: id.into(),
            sandboxer: shim(),
        };
        Ok(self.0.wait(request).await?.into_inner())
    }

    pub async fn status(&mut self, id: &str) -> Result<ControllerStatusResponse, Status> {
        let request = ControllerStatusRequest {
            sandbox_id: id.into(),
            verbose: true,
            sandboxer: shim(),
        };
        Ok(self.0.status(request).await?.into_inner())
    }

    pub async fn shutdown(&mut self, id: &str) -> Result<(), Status> {
        let request = ControllerShutdownRequest {
            sandbox_id: id.into(),
            sandboxer: shim(),
        };
        self.0.shutdown(request).await.map(drop)
    }
}
