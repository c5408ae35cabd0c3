//! One case's own world: a folder, a root file system, bundles, and the manager that the shim believes in.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use davit_integration_tests::{Scratch, image};
use davit_shim_api::{bootstrap::bootstrap::BootstrapResult, options::oci::Options, task_v3::shim::CreateTaskRequest};
use protobuf::{Message, well_known_types::any::Any};
use serde_json::{Value, json};
use ttrpc::asynchronous::Server;

use crate::{
    events::{self, Seen},
    tap::Skipped,
    task::{Task, connect, process},
};

/// The namespace of all containers.
pub const NAMESPACE: &str = "suite";

/// What is tested.
#[derive(Clone)]
pub struct Subject {
    /// The shim's program.
    pub shim: PathBuf,
    /// The runtime that it is told to use; empty for its own choice.
    pub runtime: String,
}

/// A manager with a folder of its own.
pub struct World {
    pub scratch: Scratch,
    pub subject: Subject,
    pub events: Seen,
    skipped: Skipped,
    server: Option<Server>,
    logs: Mutex<Vec<File>>,
    /// Dropped after the scratch folder, which ends all processes.
    _cgroups: Cgroups,
}

/// Removes the cgroups that a case that failed has left.
struct Cgroups(String);

impl Drop for Cgroups {
    fn drop(&mut self) {
        for path in hierarchies() {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&self.0)) {
                // Whatever has no process any more can be removed.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

fn hierarchies() -> impl Iterator<Item = PathBuf> {
    let below = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    below.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()])
}

impl World {
    pub async fn new(subject: Subject, skipped: Skipped) -> Self {
        // None of our own programs is needed.
        let scratch = Scratch::with_programs(Path::new(""));
        image::busybox_root(&scratch.join("image")).expect("a root file system");
        let mut world = Self {
            _cgroups: Cgroups(format!("{}-", scratch.bridge())),
            scratch,
            subject,
            events: Seen::default(),
            skipped,
            server: None,
            logs: Mutex::default(),
        };
        world.manager_comes().await;
        world
    }

    /// Says why the case is not gone through with: the shim does not offer what is optional.
    pub fn skip(&self, reason: &str) {
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }

    /// The manager takes events from now on.
    pub async fn manager_comes(&mut self) {
        self.server = Some(events::serve(&self.scratch.join("m.sock.ttrpc"), self.events.clone()).await);
    }

    /// The manager is away, with its connections.
    pub async fn manager_goes(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.shutdown().await.expect("a server ends");
        }
    }

    /// A bundle whose container runs `script` in a shell.
    pub fn bundle(&self, id: &str, script: &str) -> PathBuf {
        let bundle = self.scratch.join(id);
        fs::create_dir_all(bundle.join("rootfs")).expect("a folder");
        self.keep_log(&bundle);
        let namespaces = ["pid", "mount", "ipc", "uts", "network"].map(|kind| json!({ "type": kind }));
        let config = json!({
            "ociVersion": "1.0.2",
            "process": process(script),
            "root": { "path": self.scratch.join("image") },
            "annotations": {},
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"] },
            ],
            "linux": { "cgroupsPath": format!("/{}", self.cgroup(id)), "namespaces": namespaces },
        });
        fs::write(bundle.join("config.json"), config.to_string()).expect("a file");
        bundle
    }

    /// A manager reads what its shims log from a FIFO in the bundle; here nobody does, and a shim says little.
    pub fn keep_log(&self, bundle: &Path) {
        let path = bundle.join("log");
        if !path.exists() {
            make_fifo(&path);
            let log = File::options().read(true).write(true).open(path).expect("a FIFO");
            self.logs.lock().unwrap_or_else(PoisonError::into_inner).push(log);
        }
    }

    pub fn cgroup(&self, id: &str) -> String {
        format!("{}-{id}", self.scratch.bridge())
    }

    /// What a container's cgroup has in this file, in whichever hierarchy it is.
    pub fn cgroup_file(&self, id: &str, name: &str) -> Option<String> {
        let mut paths = hierarchies().map(|path| path.join(self.cgroup(id)).join(name));
        paths.find_map(|path| fs::read_to_string(path).ok())
    }

    /// Changes a bundle's configuration.
    pub fn edit(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let path = self.scratch.join(id).join("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).expect("a bundle")).expect("JSON");
        change(&mut config);
        fs::write(path, config.to_string()).expect("a file");
    }

    /// Runs an action of the shim's program in a bundle, as containerd 1.7 to 2.2 does.
    pub fn action(&self, id: &str, arguments: &[&str], stdin: &[u8]) -> Output {
        self.action_in(&self.scratch.join(id), id, arguments, stdin)
    }

    /// The same in another folder.
    pub fn action_in(&self, folder: &Path, id: &str, arguments: &[&str], stdin: &[u8]) -> Output {
        let mut command = Command::new(&self.subject.shim);
        command
            .args(["-namespace", NAMESPACE, "-id", id, "-address"])
            .arg(self.scratch.join("m.sock"))
            .args(["-publish-binary", "/bin/false"])
            .args(arguments)
            .current_dir(folder)
            .env("TTRPC_ADDRESS", self.scratch.join("m.sock.ttrpc"))
            .env("GRPC_ADDRESS", self.scratch.join("m.sock"))
            .env("NAMESPACE", NAMESPACE)
            .env("MAX_SHIM_VERSION", "2")
            .process_group(0);
        output(command, stdin)
    }

    /// The options of the runtime: its state is kept in the case's folder.
    pub fn options(&self) -> Any {
        let options = Options {
            root: self.scratch.join("runc").display().to_string(),
            binary_name: self.subject.runtime.clone(),
            ..Default::default()
        };
        Any {
            type_url: "containerd.runc.v1.Options".into(),
            value: options.write_to_bytes().expect("a message"),
            ..Default::default()
        }
    }

    /// Starts a shim for a bundle, or finds that of its group; what it answers.
    pub fn reply_of_start(&self, id: &str) -> Vec<u8> {
        let options = self.options().write_to_bytes().expect("a message");
        let reply = self.action(id, &["start"], &options);
        assert!(
            reply.status.success(),
            "start: {}",
            String::from_utf8_lossy(&reply.stderr)
        );
        reply.stdout
    }

    /// The same; the address.
    pub fn start(&self, id: &str) -> String {
        address_in(&self.reply_of_start(id))
    }

    /// A container that is not created yet, and its shim.
    pub async fn task(&self, id: &str, script: &str) -> Task {
        self.bundle(id, script);
        self.task_in_bundle(id).await
    }

    /// The same for a bundle that is there.
    pub async fn task_in_bundle(&self, id: &str) -> Task {
        self.task_at(&self.start(id), id).await
    }

    /// The same for a shim that serves already.
    pub async fn task_at(&self, address: &str, id: &str) -> Task {
        Task {
            client: connect(address).await,
            address: address.into(),
            id: id.into(),
            request: CreateTaskRequest {
                id: id.into(),
                bundle: self.scratch.join(id).display().to_string(),
                options: Some(self.options()).into(),
                ..Default::default()
            },
        }
    }

    /// A container that runs, and its process id.
    pub async fn running(&self, id: &str, script: &str) -> (Task, u32) {
        let task = self.task(id, script).await;
        let pid = task.run().await;
        (task, pid)
    }

    /// The topics that have come, without their common beginning.
    pub fn topics(&self) -> Vec<String> {
        let all = self.events.all();
        all.iter()
            .map(|event| event.topic.trim_start_matches("/tasks/").to_owned())
            .collect()
    }

    /// Waits until these events have come, and no others.
    pub async fn told(&self, topics: &[&str]) {
        self.comes(|| self.topics().len() >= topics.len()).await;
        assert_eq!(self.topics(), topics);
    }

    /// Waits for what events bring about, for ten seconds.
    pub async fn comes(&self, has_come: impl Fn() -> bool) {
        for _ in 0..500 {
            if has_come() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A new FIFO.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.scratch.join(name);
        make_fifo(&path);
        path
    }
}

fn make_fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
}

/// Runs a program to its end; its answers are bytes.
pub fn output(mut command: Command, stdin: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // It may refuse its arguments before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    child.wait_with_output().expect("the program ends")
}

/// The address in a start's answer, which is protobuf, JSON, or nothing but the address.
pub fn address_in(reply: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Value>(reply) {
        return json["address"].as_str().expect("an address").to_owned();
    }
    match std::str::from_utf8(reply) {
        Ok(bare) if bare.starts_with("unix://") => bare.trim().to_owned(),
        _ => BootstrapResult::parse_from_bytes(reply).expect("an answer").address,
    }
}

/// The generation of the task service in a start's answer.
pub fn version_in(reply: &[u8]) -> u64 {
    if let Ok(json) = serde_json::from_slice::<Value>(reply) {
        return json["version"].as_u64().expect("a number");
    }
    match std::str::from_utf8(reply) {
        Ok(bare) if bare.starts_with("unix://") => 2,
        _ => BootstrapResult::parse_from_bytes(reply).expect("an answer").version as u64,
    }
}

/// The path of an address.
pub fn path_of(address: &str) -> &Path {
    Path::new(address.strip_prefix("unix://").expect("a unix socket"))
}

/// Reads a FIFO or a file to its end, beside the case.
pub fn read(path: PathBuf) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || fs::read_to_string(path).expect("it can be read"))
}
