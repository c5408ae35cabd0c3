//! A bundle to run: busybox as the root, and the runtime's own example as the config.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
};

use davit_integration_tests::{Finished, Run, Scratch, image, program};
use serde_json::{Value, json};

/// A bundle with a state folder and a cgroup of its own.
pub struct Bundle {
    scratch: Scratch,
    id: String,
}

impl Bundle {
    /// The example config, without a terminal and with a writable root.
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let id = scratch.bridge();
        image::busybox_root(&scratch.join("rootfs")).expect("busybox-static is installed");
        let bundle = Bundle { scratch, id };
        bundle.runtime(&["spec", "--bundle", &bundle.path()]).ok();
        bundle.edit(|config| {
            config["process"]["terminal"] = json!(false);
            config["root"]["readonly"] = json!(false);
            config["hostname"] = json!("box");
            config["linux"]["cgroupsPath"] = json!(format!("/davit-tests/{}", bundle.id));
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            // Where cgroups are v2 alone, the example has it.
            if namespaces.iter().all(|namespace| namespace["type"] != "cgroup") {
                namespaces.push(json!({"type": "cgroup"}));
            }
        });
        bundle
    }

    /// The container's id, and its cgroup's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bundle's folder.
    pub fn path(&self) -> String {
        self.scratch.path().display().to_string()
    }

    /// A file in the bundle's folder.
    pub fn file(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.scratch.join("rootfs")
    }

    /// The runtime's state.
    pub fn root(&self) -> PathBuf {
        self.scratch.join("state")
    }

    /// Puts a static program in C into the root, for what busybox cannot do. What links the tests can link it.
    pub fn compile(&self, name: &str, source: &str) {
        let file = self.file(&format!("{name}.c"));
        fs::write(&file, source).expect("the bundle is ours");
        let program = self.rootfs().join("bin").join(name);
        let mut compiler = Command::new("cc");
        compiler
            .args(["-static", "-pthread", "-o"])
            .arg(program)
            .arg(file)
            .finish()
            .ok();
    }

    /// Changes the config.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.file("config.json");
        let mut config = serde_json::from_slice(&fs::read(&path).expect("a config")).expect("JSON");
        change(&mut config);
        fs::write(&path, config.to_string()).expect("the bundle is ours");
    }

    /// A command of the runtime.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.program("davit-runtime");
        command.arg("--root").arg(self.root()).args(args);
        command
    }

    /// Starts a command that must not outlive the test.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let child = command.spawn().expect("the runtime is built");
        self.scratch.owns(&child);
        child
    }

    /// Runs a command of the runtime. A container's program may keep the streams: so they are files.
    pub fn runtime(&self, args: &[&str]) -> Finished {
        let detached = args.contains(&"create") || args.contains(&"--detach");
        let mut command = self.command(args);
        if !detached {
            return command.finish();
        }
        self.finish_into_files(&mut command)
    }

    /// Runs a command that leaves a program with its streams.
    pub fn finish_into_files(&self, command: &mut Command) -> Finished {
        finish_into(command, &self.file("stdout"), &self.file("stderr"))
    }

    /// Makes a container of another id. Many may be made at once.
    pub fn create_as(&self, id: &str) -> Finished {
        let (stdout, stderr) = (self.file(&format!("{id}.out")), self.file(&format!("{id}.err")));
        let mut command = self.command(&["create", "--bundle", &self.path(), id]);
        finish_into(&mut command, &stdout, &stderr)
    }

    /// Runs a program in the foreground.
    pub fn run(&self, args: &[&str]) -> Finished {
        self.edit(|config| config["process"]["args"] = json!(args));
        self.run_as_is()
    }

    /// Runs the program of the config in the foreground.
    pub fn run_as_is(&self) -> Finished {
        self.runtime(&["run", "--bundle", &self.path(), &self.id])
    }

    /// Starts a container whose program sleeps.
    pub fn sleeping(&self) {
        self.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
        self.runtime(&["run", "--detach", "--bundle", &self.path(), self.id()])
            .ok();
    }

    /// Runs a further program in the container.
    pub fn exec(&self, args: &[&str]) -> Finished {
        self.runtime(&[&["exec", self.id()], args].concat())
    }

    /// Runs what a process.json describes in the container.
    pub fn exec_process(&self, process: &Value) -> Finished {
        let path = self.file("process.json");
        fs::write(&path, process.to_string()).expect("the bundle is ours");
        self.runtime(&["exec", "--process", &path, self.id()])
    }

    /// What `state` says.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.runtime(&["state", &self.id]).ok()).expect("JSON")
    }

    /// The ids that `list` knows.
    pub fn ids(&self) -> Vec<String> {
        // A root that is named must be there, and what was refused at once has made none.
        if !self.root().exists() {
            return Vec::new();
        }
        self.runtime(&["list", "--quiet"])
            .ok()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The cgroup folders of this bundle that exist.
    pub fn cgroups(&self) -> Vec<String> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted");
        let roots = hierarchies
            .flatten()
            .map(|entry| entry.path())
            .chain([PathBuf::from("/sys/fs/cgroup")]);
        roots
            .map(|root| root.join("davit-tests").join(&self.id))
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect()
    }

    /// A copy of the runtime that a test may fear for.
    pub fn private_runtime(&self) -> PathBuf {
        let copy = self.scratch.join("runtime-copy");
        let original = self.command(&[]).get_program().to_owned();
        program::copy(original, &copy).expect("the runtime is built");
        copy
    }
}

/// Takes the namespaces of a kind out of a config: the container shares its maker's.
pub fn without_namespace(config: &mut Value, kind: &str) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != kind);
}

/// Gives a namespace of a config a path.
pub fn join_namespace(config: &mut Value, kind: &str, path: &str) {
    without_namespace(config, kind);
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": kind, "path": path}));
}

/// A hook that runs a script of the host's shell.
pub fn shell_hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
}

/// Runs a command with files as its streams.
fn finish_into(command: &mut Command, stdout: &str, stderr: &str) -> Finished {
    let line = format!("{command:?}");
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(fs::File::create(stdout).expect("the bundle is ours"))
        .stderr(fs::File::create(stderr).expect("the bundle is ours"))
        .status()
        .expect("the runtime is built");
    let text = |path: &str| fs::read_to_string(path).expect("the bundle is ours");
    Finished {
        code: status.code().unwrap_or(-1),
        stdout: text(stdout),
        stderr: text(stderr),
        line,
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A failed test leaves a container; the sweep of the scratch folder does not know its cgroup.
        self.command(&["delete", "--force", &self.id]).finish();
        for root in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(root.path().join("davit-tests"));
        }
    }
}
