//! A manager's side of one shim: bundles, the start contract, a ttrpc client, and a server that takes events.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use davit_integration_tests::{Scratch, image};
use davit_shim_api::{
    bootstrap::bootstrap::{BootstrapParams, BootstrapResult, Extension},
    forward::{
        events::ForwardRequest,
        events_ttrpc::{Events, create_events},
    },
    options::oci::Options,
    task_events::task::TaskExit,
    task_v3::{
        shim::{CreateTaskRequest, ExecProcessRequest},
        shim_ttrpc::TaskClient,
    },
};
use protobuf::{
    Message,
    well_known_types::{any::Any, empty::Empty},
};
use serde_json::json;
use tokio::time;
use ttrpc::{
    asynchronous::{Client, Server, TtrpcContext},
    context,
};

pub const NAMESPACE: &str = "ns";

/// An event as it arrived.
#[derive(Debug, Clone)]
pub struct Event {
    pub topic: String,
    /// `id` and status of a TaskExit.
    pub exit: Option<(String, u32)>,
}

pub type Seen = Arc<Mutex<Vec<Event>>>;

pub struct Rig {
    pub scratch: Scratch,
    pub events: Seen,
    /// Where the shim finds programs, unless where this test does.
    pub search_path: Option<String>,
    server: Option<Server>,
    /// Dropped after the scratch folder, which ends all processes.
    _cgroups: Cgroups,
}

/// Removes the cgroups of containers that a test did not delete, whose processes have all gone.
struct Cgroups(String);

impl Drop for Cgroups {
    fn drop(&mut self) {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        let folders = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
        for folder in folders {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&self.0)) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

struct Collector(Seen);

#[async_trait]
impl Events for Collector {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = request.envelope;
        assert_eq!(envelope.namespace, NAMESPACE);
        let exit = (envelope.event.type_url == "containerd.events.TaskExit")
            .then(|| TaskExit::parse_from_bytes(&envelope.event.value).expect("a TaskExit"))
            .map(|exit| (exit.id, exit.exit_status));
        let topic = envelope.topic.clone();
        self.0.lock().expect("no poison").push(Event { topic, exit });
        Ok(Empty::new())
    }
}

impl Rig {
    pub async fn new() -> Self {
        let scratch = Scratch::new();
        image::busybox_root(&scratch.join("rootfs")).expect("a root file system");
        let mut rig = Self {
            _cgroups: Cgroups(format!("{}-", scratch.bridge())),
            scratch,
            events: Seen::default(),
            search_path: None,
            server: None,
        };
        rig.manager_comes().await;
        rig
    }

    /// The manager takes events from now on.
    pub async fn manager_comes(&mut self) {
        // A manager that was killed leaves its socket.
        let _ = fs::remove_file(self.scratch.join("m.ttrpc"));
        let mut server = Server::new()
            .bind(&format!("unix://{}", self.scratch.join("m.ttrpc").display()))
            .expect("a socket")
            .register_service(create_events(Arc::new(Collector(self.events.clone()))));
        server.start().await.expect("a server");
        self.server = Some(server);
    }

    /// The manager is away, with its connections.
    pub async fn manager_goes(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.shutdown().await.expect("a server ends");
        }
    }

    /// A bundle that runs `script` in a shell.
    pub fn bundle(&self, id: &str, script: &str, annotations: &[(&str, &str)]) -> PathBuf {
        let bundle = self.scratch.join(id);
        fs::create_dir_all(bundle.join("rootfs")).expect("a folder");
        let annotations: serde_json::Map<_, _> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": process(script),
            "root": { "path": self.scratch.join("rootfs") },
            "annotations": annotations,
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] },
            ],
            "linux": {
                "cgroupsPath": format!("/{}-{id}", self.scratch.bridge()),
                "namespaces": namespaces,
            },
        });
        fs::write(bundle.join("config.json"), config.to_string()).expect("a file");
        bundle
    }

    /// Changes a bundle's configuration.
    pub fn edit(&self, id: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.scratch.join(id).join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).expect("a bundle")).expect("JSON");
        change(&mut config);
        fs::write(path, config.to_string()).expect("a file");
    }

    /// Runs an action of the shim in the bundle.
    pub fn action(&self, id: &str, action: &str, stdin: &[u8], legacy: Option<&str>) -> Output {
        self.action_in(&self.scratch.join(id), id, action, stdin, legacy)
    }

    /// The same in another folder.
    pub fn action_in(&self, folder: &Path, id: &str, action: &str, stdin: &[u8], legacy: Option<&str>) -> Output {
        let mut command = self.scratch.program("containerd-shim-davit-v1");
        let address = self.scratch.join("m.sock");
        command
            .args(["-namespace", NAMESPACE, "-id", id, "-address"])
            .arg(address);
        command.args(["-publish-binary", "/bin/false", action]);
        command.current_dir(folder);
        command
            .env("TTRPC_ADDRESS", self.scratch.join("m.ttrpc"))
            .env_remove("MAX_SHIM_VERSION");
        if let Some(path) = &self.search_path {
            command.env("PATH", path);
        }
        if let Some(version) = legacy {
            command.env("MAX_SHIM_VERSION", version);
        }
        output(command, stdin)
    }

    pub fn parameters(&self, id: &str) -> Vec<u8> {
        let params = BootstrapParams {
            instance_id: id.into(),
            namespace: NAMESPACE.into(),
            containerd_ttrpc_address: self.scratch.join("m.ttrpc").display().to_string(),
            containerd_grpc_address: self.scratch.join("m.sock").display().to_string(),
            socket_dir: Some(self.scratch.join("s").display().to_string()),
            extensions: vec![Extension {
                value: Some(self.options()).into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        params.write_to_bytes().expect("a message")
    }

    pub fn options(&self) -> Any {
        let options = Options {
            root: self.scratch.join("runc").display().to_string(),
            ..Default::default()
        };
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().expect("a message"),
            ..Default::default()
        }
    }

    /// A shim for a new bundle; its address.
    pub fn start(&self, id: &str, script: &str) -> String {
        self.bundle(id, script, &[]);
        self.start_in_bundle(id)
    }

    /// A shim for a bundle that is there; its address.
    pub fn start_in_bundle(&self, id: &str) -> String {
        let reply = self.action(id, "start", &self.parameters(id), Some("2"));
        assert!(reply.status.success(), "{}", String::from_utf8_lossy(&reply.stderr));
        BootstrapResult::parse_from_bytes(&reply.stdout)
            .expect("a BootstrapResult")
            .address
    }

    /// A shim with a created container; stdout and stderr are this URI.
    pub async fn created(&self, id: &str, script: &str, stdin: &str, output: &str) -> TaskClient {
        let client = connect(&self.start(id, script)).await;
        client
            .create(soon(), &self.create_request(id, stdin, output))
            .await
            .expect("create");
        client
    }

    pub fn create_request(&self, id: &str, stdin: &str, output: &str) -> CreateTaskRequest {
        CreateTaskRequest {
            id: id.into(),
            bundle: self.scratch.join(id).display().to_string(),
            stdin: stdin.into(),
            stdout: output.into(),
            stderr: output.into(),
            options: Some(self.options()).into(),
            ..Default::default()
        }
    }

    pub fn topics(&self) -> Vec<String> {
        self.events
            .lock()
            .expect("no poison")
            .iter()
            .map(|event| event.topic.clone())
            .collect()
    }

    pub fn exits(&self) -> Vec<(String, u32)> {
        self.events
            .lock()
            .expect("no poison")
            .iter()
            .filter_map(|event| event.exit.clone())
            .collect()
    }

    /// Waits until this many events have come.
    pub async fn events_come(&self, count: usize) {
        for _ in 0..500 {
            if self.topics().len() >= count {
                return;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {count} events but {:?}", self.topics());
    }
}

pub fn process(script: &str) -> serde_json::Value {
    json!({ "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } })
}

pub fn exec_request(id: &str, exec: &str, script: &str, output: &str) -> ExecProcessRequest {
    let spec = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
        value: process(script).to_string().into_bytes(),
        ..Default::default()
    };
    ExecProcessRequest {
        id: id.into(),
        exec_id: exec.into(),
        stdout: output.into(),
        stderr: output.into(),
        spec: Some(spec).into(),
        ..Default::default()
    }
}

pub async fn connect(address: &str) -> TaskClient {
    TaskClient::new(Client::connect(address).await.expect("a shim that serves"))
}

/// The time that a call may take.
pub fn soon() -> context::Context {
    context::with_duration(Duration::from_secs(60))
}

pub fn output(mut command: Command, stdin: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().expect("the program starts");
    // It may refuse its arguments before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("the program ends")
}

pub fn pid_of_listener(socket: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let needle = socket.display().to_string();
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).split('\0').any(|word| word == needle)
    })
    .collect()
}
