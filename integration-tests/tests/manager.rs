//! The real `ctr` against the manager: what it does with tasks, and that neither a killed shim nor a killed manager is ever
//! noticed where it should not be. Each with our own shim and with containerd's.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::{self, sleep},
    time::Duration,
};

use davit_integration_tests::{Finished, Manager, Run, Scratch, image, program, sweep, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

mod manager {
    mod channel;
    pub mod checkpoint;
    mod configuration;
    mod crashes;
    mod dockerd;
    mod full_disk;
    mod inspection;
    mod journal;
    mod lifecycles;
    mod restart;
    mod sandboxes;
    mod startup;
    mod subscriber;
}

use manager::checkpoint::{
    a_checkpoint_in_a_folder_of_the_client_is_not_stored,
    a_checkpoint_that_fails_leaves_the_task_alone_and_nothing_behind, a_container_goes_on_where_its_checkpoint_left_it,
};

/// A shim, and how the manager comes by it.
#[derive(Clone, Copy)]
enum Shim {
    Ours,
    Containerds,
}

impl Shim {
    fn runtime(self) -> &'static str {
        match self {
            Self::Ours => "io.containerd.davit.v1",
            Self::Containerds => "io.containerd.runc.v2",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Ours => "containerd-shim-davit-v1",
            Self::Containerds => "containerd-shim-runc-v2",
        }
    }

    fn manager(self, scratch: &Scratch) -> Manager {
        self.manager_with(scratch, &[])
    }

    fn manager_with(self, scratch: &Scratch, arguments: &[&str]) -> Manager {
        match self {
            Self::Ours => Manager::start_with(scratch, arguments),
            Self::Containerds => Manager::start_among_peers_with(scratch, arguments),
        }
    }
}

/// A scratch with a busybox root file system, and `ctr` on the manager's socket.
struct World {
    scratch: Scratch,
    socket: PathBuf,
    shim: Shim,
    root: PathBuf,
}

impl World {
    fn new(shim: Shim) -> Self {
        Self::on("c.sock", shim)
    }

    fn on(socket: &str, shim: Shim) -> Self {
        let scratch = Scratch::new();
        let root = scratch.join("rootfs");
        image::busybox_root(&root).expect("a root file system");
        Self {
            socket: scratch.join(socket),
            scratch,
            shim,
            root,
        }
    }

    /// An id of this test's own: shims of all managers share the runtime's state.
    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.scratch.bridge())
    }

    fn ctr(&self, arguments: &[&str]) -> Finished {
        self.scratch.ctr(&self.socket).args(arguments).finish()
    }

    /// `ctr run` of a shell script.
    fn run(&self, options: &[&str], id: &str, script: &str) -> Finished {
        let root = self.root.to_str().expect("ASCII");
        let given = ["run", "--runtime", self.shim.runtime(), "--rootfs"];
        let container = [root, id, "/bin/sh", "-c", script];
        self.ctr(&[&given, options, &container].concat())
    }

    /// Status of a task, empty where there is none.
    fn status(&self, id: &str) -> String {
        let list = self.ctr(&["tasks", "list"]).ok();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().nth(2))
            .unwrap_or_default()
            .to_owned()
    }

    /// The same, once a manager that has just started knows it.
    fn known_status(&self, id: &str) -> String {
        wait::until(&format!("it is known of {id} what it is"), 20, || {
            Some(self.status(id)).filter(|status| status != "UNKNOWN")
        })
    }

    fn wait_for_status(&self, id: &str, status: &str) {
        wait::until_true(&format!("task {id} is {status:?}"), 20, || self.status(id) == status);
    }

    /// Subscribes to events, into a file.
    fn events(&self, name: &str) -> (Child, PathBuf) {
        let path = self.scratch.join(name);
        let file = File::create(&path).expect("the folder is ours");
        let mut ctr = self.scratch.ctr(&self.socket);
        let child = ctr
            .arg("events")
            .stdout(file)
            .stdin(Stdio::null())
            .spawn()
            .expect("ctr starts");
        self.scratch.owns(&child);
        // ctr does not say when it has subscribed; labelling a namespace is an event that nobody else needs.
        wait::until_true("ctr has subscribed", 20, || {
            self.ctr(&["namespaces", "label", "default", "probe=1"]).ok();
            fs::read_to_string(&path).is_ok_and(|text| text.contains("/namespaces/update"))
        });
        (child, path)
    }

    /// The shims of a container.
    fn shims(&self, id: &str) -> Vec<Pid> {
        let is_shim = |pid: &u32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split('\0');
            words
                .next()
                .is_some_and(|program| program.ends_with(self.shim.program()))
                && words.any(|word| word == id)
        };
        let processes = sweep::processes_of(self.scratch.path(), &[]);
        processes
            .into_iter()
            .filter(is_shim)
            .map(|pid| Pid::from_raw(pid as i32))
            .collect()
    }

    /// Options of `ctr run` for a runtime that makes the file `began` when it is to create, and waits for the file `go`.
    fn with_slow_creation(&self) -> Vec<PathBuf> {
        let [began, go] = ["began", "go"].map(|name| self.scratch.join(name));
        let folder = self.scratch.join("slow");
        fs::create_dir(&folder).expect("the scratch is writable");
        let slow = folder.join("davit-runtime");
        let (runtime, options) = match self.shim {
            Shim::Ours => {
                // A shim takes the runtime beside it.
                let shim = folder.join(self.shim.program());
                let built = self.scratch.program(self.shim.program());
                program::copy(built.get_program(), &shim).expect("the shim can be copied");
                let runtime = self.scratch.program("davit-runtime").get_program().into();
                (runtime, vec!["--runtime".into(), shim])
            }
            Shim::Containerds => {
                let kind = self.shim.runtime().into();
                let options = vec!["--runtime".into(), kind, "--runc-binary".into(), slow.clone()];
                (PathBuf::from("runc"), options)
            }
        };
        let wait = format!("touch {began:?}; until [ -e {go:?} ]; do sleep 0.01; done");
        let case = format!("case \" $* \" in *' create '*) {wait} ;; esac");
        program::write(&slow, &format!("#!/bin/sh\n{case}\nexec {runtime:?} \"$@\"\n"));
        options
    }

    /// What a task that never came to be, or is gone, must not leave.
    fn assert_nothing_is_left_of(&self, id: &str) {
        wait::until_true(&format!("the shim of {id} has ended"), 10, || self.shims(id).is_empty());
        for folder in ["cstate", "croot"] {
            let bundle = self
                .scratch
                .join(folder)
                .join("io.containerd.runtime.v2.task/default")
                .join(id);
            assert!(!bundle.exists(), "{bundle:?}");
        }
        assert_eq!(self.status(id), "");
    }
}

fn topics_of(events: &str, id: &str) -> Vec<String> {
    let of_task = |line: &&str| line.contains("/tasks/") && line.contains(&format!("\"container_id\":\"{id}\""));
    let topic = |line: &str| {
        line.split_whitespace()
            .find(|word| word.starts_with('/'))
            .map(str::to_owned)
    };
    events.lines().filter(of_task).filter_map(topic).collect()
}

fn ctr_does_with_a_task_what_it_does_on_containerd(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [short, long] = ["short", "long"].map(|name| world.id(name));
    assert!(world.ctr(&["version"]).ok().contains("davit"));
    let (mut subscriber, events) = world.events("events");

    assert_eq!(
        world.run(&["--rm"], &short, "echo hello; exit 3").code_is(3).stdout,
        "hello\n"
    );
    world.run(&["--detach"], &long, "sleep 600").ok();
    assert_eq!(world.status(&long), "RUNNING");
    let exec = [
        "tasks",
        "exec",
        "--exec-id",
        "e",
        &long,
        "/bin/sh",
        "-c",
        "echo inside; exit 4",
    ];
    assert_eq!(world.ctr(&exec).code_is(4).stdout, "inside\n");
    assert_eq!(world.ctr(&["tasks", "ps", &long]).ok().lines().count(), 2);
    assert!(world.ctr(&["tasks", "metrics", &long]).ok().contains("memory"));
    world.ctr(&["tasks", "pause", &long]).ok();
    assert_eq!(world.status(&long), "PAUSED");
    world.ctr(&["tasks", "resume", &long]).ok();
    world
        .ctr(&["tasks", "rm", &long])
        .says("task must be stopped before deletion: running");
    world.ctr(&["tasks", "kill", "--signal", "KILL", &long]).ok();
    world.wait_for_status(&long, "STOPPED");
    world
        .ctr(&["tasks", "rm", &long])
        .says(&format!("task {long} exit with non-zero exit code 137"));
    world.assert_nothing_is_left_of(&long);
    world.ctr(&["containers", "rm", &long]).ok();
    assert_eq!(world.ctr(&["containers", "list", "--quiet"]).ok(), "");

    let expected = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/exec-added",
        "/tasks/exec-started",
        "/tasks/exit",
        "/tasks/paused",
        "/tasks/resumed",
        "/tasks/exit",
        "/tasks/delete",
    ];
    let told = || topics_of(&fs::read_to_string(&events).expect("the folder is ours"), &long);
    wait::until_true("the last event has come", 10, || told().len() >= expected.len());
    assert_eq!(told(), expected);
    kill(Pid::from_raw(subscriber.id() as i32), Signal::SIGKILL).expect("ctr runs");
    subscriber.wait().expect("ctr is a child");
    manager.stop();
}

fn containers_outlive_a_killed_manager(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [stays, ends, orphan] = ["stays", "ends", "orphan"].map(|name| world.id(name));
    world.run(&["--detach"], &stays, "sleep 600").ok();
    world.run(&["--detach"], &ends, "sleep 2; exit 42").ok();
    world.run(&["--detach"], &orphan, "sleep 600").ok();
    let pids = world.ctr(&["tasks", "list"]).ok();

    manager.kill();
    sleep(Duration::from_secs(3));
    for pid in world.shims(&orphan) {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    let manager = shim.manager(&world.scratch);

    let (before, after) = (pids, world.ctr(&["tasks", "list"]).ok());
    let pid = |list: &str| {
        let mut words = list.split_whitespace().skip_while(|word| *word != stays);
        words.nth(1).map(str::to_owned)
    };
    assert_eq!(pid(&after), pid(&before), "the same process runs on");
    world.wait_for_status(&ends, "STOPPED");
    world
        .ctr(&["tasks", "rm", &ends])
        .says(&format!("task {ends} exit with non-zero exit code 42"));
    world.assert_nothing_is_left_of(&orphan);
    let exec = ["tasks", "exec", "--exec-id", "e", &stays, "/bin/echo", "still here"];
    assert_eq!(world.ctr(&exec).ok(), "still here");
    world.ctr(&["tasks", "rm", "--force", &stays]);
    for id in [&stays, &ends, &orphan] {
        world.assert_nothing_is_left_of(id);
        world.ctr(&["containers", "rm", id]).ok();
    }
    manager.stop();
}

fn the_death_of_a_shim_is_the_end_of_its_task(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [victim, next] = ["victim", "next"].map(|name| world.id(name));
    let (mut subscriber, events) = world.events("events");
    world.run(&["--detach"], &victim, "sleep 600").ok();
    let mut attach = world.scratch.ctr(&world.socket);
    let mut waiting = attach
        .args(["tasks", "attach", &victim])
        .stdin(Stdio::null())
        .spawn()
        .expect("ctr starts");
    sleep(Duration::from_millis(300));
    for pid in world.shims(&victim) {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    assert_eq!(
        waiting.wait().expect("ctr is a child").code(),
        Some(137),
        "who waits gets the exit"
    );
    wait::until_true("the end is told", 10, || {
        let told = fs::read_to_string(&events).expect("the folder is ours");
        topics_of(&told, &victim).ends_with(&["/tasks/exit".into(), "/tasks/delete".into()])
    });
    world.assert_nothing_is_left_of(&victim);
    world.run(&["--rm"], &next, "true").ok();
    kill(Pid::from_raw(subscriber.id() as i32), Signal::SIGKILL).expect("ctr runs");
    subscriber.wait().expect("ctr is a child");
    manager.stop();
}

fn a_run_that_fails_leaves_nothing(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let root = world.root.to_str().expect("ASCII");
    let runtime = shim.runtime();
    let refused = |runtime: &str, root: &str, id: &str, program: &str, words: &str| {
        let id = &match id.contains('/') {
            true => id.to_owned(),
            false => world.id(id),
        };
        let arguments = ["run", "--detach", "--runtime", runtime, "--rootfs", root, id, program];
        world.ctr(&arguments).code_is(1).says(words);
        if !id.contains('/') {
            world.assert_nothing_is_left_of(id);
        }
    };
    refused(runtime, root, "f1", "/bin/nosuch", "no such file or directory");
    refused(runtime, root, "f2", "/etc/passwd", "permission denied");
    refused(
        runtime,
        "/no/such/root",
        "f3",
        "/bin/true",
        "failed to create shim task",
    );
    refused(
        "io.containerd.nosuch.v1",
        root,
        "f4",
        "/bin/true",
        "binary not installed \"containerd-shim-nosuch-v1\"",
    );
    refused("/no/such/shim", root, "f5", "/bin/true", "no such file or directory");
    refused(
        "/bin/true",
        root,
        "f6",
        "/bin/true",
        "failed to start shim: start failed",
    );
    refused(runtime, root, "../f7", "/bin/true", "must match ^[A-Za-z0-9]+");
    world
        .ctr(&["tasks", "start", "f8"])
        .says("container \"f8\" in namespace \"default\": not found");
    assert!(!world.scratch.join("cstate/io.containerd.runtime.v2.task/f7").exists());
    manager.stop();
}

/// Kills the manager at many moments of a run; each time the task is there whole, or not at all.
fn a_manager_killed_at_any_moment_leaves_nothing_half_made(shim: Shim) {
    let world = World::new(shim);
    let mut manager = shim.manager(&world.scratch);
    for moment in 0..12 {
        let id = world.id(&format!("m{moment}"));
        let mut run = world.scratch.ctr(&world.socket);
        run.args(["run", "--detach", "--runtime", shim.runtime(), "--rootfs"])
            .arg(&world.root);
        run.args([id.as_str(), "/bin/sleep", "600"]);
        run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = run.spawn().expect("ctr starts");
        sleep(Duration::from_millis(15 + 12 * moment));
        manager.kill();
        running.wait().expect("ctr is a child");
        manager = shim.manager(&world.scratch);
        match world.known_status(&id).as_str() {
            "" => world.assert_nothing_is_left_of(&id),
            "CREATED" | "RUNNING" => {
                assert_eq!(world.shims(&id).len(), 1);
                world.ctr(&["tasks", "rm", "--force", &id]);
                world.assert_nothing_is_left_of(&id);
            }
            status => panic!("{id} is {status}"),
        }
    }
    manager.stop();
}

/// Kills the manager while a runtime is creating.
fn killed_while_creating(world: &World, id: &str) {
    let manager = world.shim.manager(&world.scratch);
    let mut run = world.scratch.ctr(&world.socket);
    run.args(["run", "--detach"]).args(world.with_slow_creation());
    run.arg("--rootfs").arg(&world.root).args([id, "/bin/sleep", "600"]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = run.spawn().expect("ctr starts");
    wait::until_true("the runtime is called", 20, || world.scratch.join("began").exists());
    manager.kill();
    running.wait().expect("ctr is a child");
}

/// Our shim goes on with a creation whose manager has died, and the next manager waits for what becomes of it. containerd's
/// ends the runtime with the connection that asked for it.
fn a_creation_that_outlives_its_manager_is_found(shim: Shim) {
    let world = World::new(shim);
    let id = world.id("slow");
    killed_while_creating(&world, &id);

    let manager = thread::scope(|scope| {
        if let Shim::Ours = shim {
            scope.spawn(|| {
                sleep(Duration::from_millis(200));
                File::create(world.scratch.join("go")).expect("the scratch is ours");
            });
        }
        shim.manager(&world.scratch)
    });

    match shim {
        Shim::Containerds => assert_eq!(world.known_status(&id), ""),
        Shim::Ours => {
            assert_eq!(world.known_status(&id), "CREATED");
            world.ctr(&["tasks", "rm", "--force", &id]).ok();
        }
    }
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

fn a_creation_that_hangs_is_given_up_by_the_next_manager(shim: Shim) {
    let world = World::new(shim);
    let id = world.id("hangs");
    killed_while_creating(&world, &id);

    let manager = shim.manager(&world.scratch);

    assert_eq!(world.known_status(&id), "");
    world.assert_nothing_is_left_of(&id);
    File::create(world.scratch.join("go")).expect("the scratch is ours");
    let again = ["run", "--detach", "--runtime", shim.runtime(), "--rootfs"];
    let root = world.root.to_str().expect("ASCII");
    let other = format!("{id}-2");
    world
        .ctr(&[&again[..], &[root, &other, "/bin/sleep", "600"]].concat())
        .ok();
    world.ctr(&["tasks", "start", "--detach", &id]).ok();
    for id in [&id, &other] {
        assert_eq!(world.status(id), "RUNNING");
        world.ctr(&["tasks", "rm", "--force", id]);
        world.assert_nothing_is_left_of(id);
    }
    manager.stop();
}

/// A runtime that is just killed would leave its hook behind.
#[test]
fn a_hook_that_hangs_ends_with_the_creation_that_is_given_up() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let id = world.id("hooked");
    let began = world.scratch.join("began");
    let spec = world.scratch.join("config.json");
    let folder = world.scratch.path().to_str().expect("ASCII");
    world
        .scratch
        .program("davit-runtime")
        .args(["spec", "--bundle", folder])
        .finish()
        .ok();
    let text = fs::read_to_string(&spec).expect("it was written");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["terminal"] = json!(false);
    config["root"]["path"] = json!(world.root);
    config["linux"]["cgroupsPath"] = json!(format!("/davit-tests/{id}"));
    let script = format!("touch {began:?}; while :; do sleep 0.1; done");
    config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    fs::write(&spec, config.to_string()).expect("the scratch is ours");
    let mut run = world.scratch.ctr(&world.socket);
    run.args(["run", "--detach", "--runtime", Shim::Ours.runtime(), "--config"]);
    run.arg(&spec).arg(&id);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = run.spawn().expect("ctr starts");
    wait::until_true("the hook is called", 20, || began.exists());
    manager.kill();
    running.wait().expect("ctr is a child");

    let manager = Shim::Ours.manager(&world.scratch);

    assert_eq!(world.known_status(&id), "");
    world.assert_nothing_is_left_of(&id);
    let hooks = || {
        let processes = sweep::processes_of(world.scratch.path(), &[]);
        let line = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        processes
            .iter()
            .filter(|pid| line(pid).starts_with("sh\0-c\0touch"))
            .count()
    };
    wait::until_true("the hook has ended", 5, || hooks() == 0);
    assert!(!Path::new("/run/davit/runc/default").join(&id).exists());
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten() {
        let cgroup = hierarchy.path().join("davit-tests").join(&id);
        assert!(!cgroup.exists(), "{cgroup:?}");
    }
    manager.stop();
}

macro_rules! with_both_shims {
    ($($test:ident)+) => {
        mod with_our_shim {
            $(#[test]
            fn $test() {
                super::$test(super::Shim::Ours);
            })+
        }

        mod with_the_shim_of_containerd {
            $(#[test]
            fn $test() {
                super::$test(super::Shim::Containerds);
            })+
        }
    };
}
use with_both_shims;

with_both_shims!(
    ctr_does_with_a_task_what_it_does_on_containerd
    containers_outlive_a_killed_manager
    the_death_of_a_shim_is_the_end_of_its_task
    a_run_that_fails_leaves_nothing
    a_manager_killed_at_any_moment_leaves_nothing_half_made
    a_creation_that_outlives_its_manager_is_found
    a_creation_that_hangs_is_given_up_by_the_next_manager
    a_container_goes_on_where_its_checkpoint_left_it
    a_checkpoint_in_a_folder_of_the_client_is_not_stored
    a_checkpoint_that_fails_leaves_the_task_alone_and_nothing_behind
);
