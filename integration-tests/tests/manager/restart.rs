//! The restart monitor: what its labels do, here and on the real containerd; and what ours adds, which hears of an end at once,
//! and leaves alone what others are about to do.

use std::{fs, thread::sleep, time::Duration};

use davit_containerd_api::services::tasks::v1::{CreateTaskRequest, StartRequest, tasks_client::TasksClient};
use davit_integration_tests::{Containerd, Finished, Manager, image, wait};
use nix::sys::signal::{Signal, kill};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};

use super::{channel, journal::block_on};
use crate::{Shim, World, topics_of, with_both_shims};

mod crashes;

type Client = TasksClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

const STATUS: &str = "containerd.io/restart.status=running";

/// As long as two scans take, and some.
const TWO_SCANS: u64 = 40;

impl World {
    /// Runs a script whose every run adds a line to a file; `labels` are what comes after `containerd.io/restart.`.
    fn run_labelled(&self, id: &str, labels: &[&str], script: &str) -> Finished {
        self.run_with(&[], id, labels, script)
    }

    fn run_with(&self, options: &[&str], id: &str, labels: &[&str], script: &str) -> Finished {
        let labels: Vec<_> = labels
            .iter()
            .map(|label| format!("containerd.io/restart.{label}"))
            .collect();
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let options: Vec<_> = ["--detach"]
            .into_iter()
            .chain(options.iter().copied())
            .chain(labels)
            .collect();
        self.run(&options, id, &format!("echo run >>/{id}; {script}"))
    }

    /// A manager that looks at all containers when it starts, and at this interval.
    fn manager_that_scans(&self, interval: &str) -> Manager {
        self.manager_with(&format!(
            "[plugins.'io.containerd.monitor.container.v1.restart']\ninterval = '{interval}'\n"
        ))
    }

    fn manager_with(&self, config: &str) -> Manager {
        let path = self.scratch.join("config.toml");
        fs::write(&path, format!("version = 2\n{config}")).expect("the scratch is ours");
        let path = path.to_str().expect("ASCII");
        self.shim.manager_with(&self.scratch, &["--config", path])
    }

    /// A container without a task. It does not run a script.
    fn create_labelled(&self, id: &str) {
        let root = self.root.to_str().expect("ASCII");
        let container = ["--label", STATUS, "--rootfs", root, id, "/bin/sleep", "600"];
        let create = ["containers", "create", "--runtime", self.shim.runtime()];
        self.ctr(&[&create[..], &container].concat()).ok();
    }

    /// Returns when all containers were looked at twice: what is not done by then is not done.
    fn let_it_scan(&self, name: &str) {
        for time in ["first", "second"] {
            let id = self.id(&format!("{name}-{time}"));
            self.create_labelled(&id);
            wait::until_true("a scan has found what is to be made", TWO_SCANS, || {
                self.status(&id) == "RUNNING"
            });
            self.remove(&id);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("davit-containerd.log")).expect("the manager logs")
    }

    /// How often the script of a container has run.
    fn runs(&self, id: &str) -> usize {
        fs::read_to_string(self.root.join(id))
            .unwrap_or_default()
            .lines()
            .count()
    }

    /// The label `containerd.io/restart.count`.
    fn restarts(&self, id: &str) -> Option<String> {
        let info: serde_json::Value =
            serde_json::from_str(&self.ctr(&["containers", "info", id]).ok()).expect("ctr prints JSON");
        let count = &info["Labels"]["containerd.io/restart.count"];
        count.as_str().map(str::to_owned)
    }

    fn label(&self, id: &str, label: &str) {
        let label = format!("containerd.io/restart.{label}");
        self.ctr(&["containers", "label", id, &label]).ok();
    }

    /// Ends the container for good.
    fn remove(&self, id: &str) {
        self.label(id, "status=stopped");
        self.ctr(&["tasks", "rm", "--force", id]);
        self.ctr(&["containers", "rm", id]);
    }
}

fn labels_do_what_they_do_on_containerd(world: &World) {
    let [always, unless_stopped, fails, fails_once] = ["always", "unless", "fails", "once"].map(|name| world.id(name));
    let [no, ends_well, stopped_explicitly, unlabelled] =
        ["no", "well", "explicitly", "unlabelled"].map(|name| world.id(name));
    let [to_stop, never_made, paused] = ["stop", "never", "paused"].map(|name| world.id(name));
    let second_run_stays = |id: &str, code: u32| format!("[ $(wc -l </{id}) -lt 2 ] || exec sleep 600; exit {code}");

    let plugins = world.ctr(&["plugins", "list", "-d", "id==restart"]).ok();
    assert!(plugins.contains("io.containerd.monitor.container.v1"), "{plugins}");
    assert!(plugins.contains("no,always,on-failure,unless-stopped"), "{plugins}");
    for (id, labels, code) in [
        (&always, &["status=running"][..], 0),
        (&unless_stopped, &["status=running", "policy=unless-stopped"], 0),
        (&fails, &["status=running", "policy=on-failure"], 3),
    ] {
        world.run_labelled(id, labels, &second_run_stays(id, code)).ok();
    }
    for (id, labels, code) in [
        (&fails_once, &["status=running", "policy=on-failure:1"][..], 3),
        (&no, &["status=running", "policy=no"], 3),
        (&ends_well, &["status=running", "policy=on-failure"], 0),
        (
            &stopped_explicitly,
            &["status=running", "policy=unless-stopped", "explicitly-stopped=true"],
            3,
        ),
        (&unlabelled, &["policy=always"], 3),
    ] {
        world.run_labelled(id, labels, &format!("exit {code}")).ok();
    }
    world.run_labelled(&to_stop, &[], "exec sleep 600").ok();
    world.label(&to_stop, "status=stopped");
    world.run_labelled(&paused, &["status=running"], "exec sleep 600").ok();
    world.ctr(&["tasks", "pause", &paused]).ok();
    world.create_labelled(&never_made);

    for id in [&always, &unless_stopped, &fails, &never_made] {
        wait::until_true(&format!("{id} runs"), TWO_SCANS, || world.status(id) == "RUNNING");
        assert_eq!(world.restarts(id).as_deref(), Some("1"), "{id}");
    }
    wait::until_true("the failing one has run again", TWO_SCANS, || {
        world.runs(&fails_once) == 2
    });
    wait::until_true("the task that shall be stopped is gone", TWO_SCANS, || {
        world.status(&to_stop).is_empty()
    });
    sleep(Duration::from_secs(12));
    assert_eq!(
        (world.runs(&fails_once), world.restarts(&fails_once).as_deref()),
        (2, Some("1"))
    );
    for id in [&no, &ends_well, &stopped_explicitly, &unlabelled] {
        assert_eq!(
            (world.runs(id), world.status(id), world.restarts(id)),
            (1, "STOPPED".into(), None),
            "{id}"
        );
    }
    assert_eq!((world.runs(&to_stop), world.status(&to_stop).as_str()), (1, ""));
    assert_eq!((world.runs(&paused), world.status(&paused).as_str()), (1, "PAUSED"));

    world.ctr(&["tasks", "resume", &paused]).ok();
    for id in [
        &always,
        &unless_stopped,
        &fails,
        &fails_once,
        &no,
        &ends_well,
        &stopped_explicitly,
        &unlabelled,
        &to_stop,
        &never_made,
        &paused,
    ] {
        world.remove(id);
    }
}

#[test]
fn labels_do_here_what_they_do_on_containerd() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    labels_do_what_they_do_on_containerd(&world);
    manager.stop();
}

#[test]
fn the_real_containerd_does_the_same_with_these_labels() {
    let world = World::on("rc.sock", Shim::Containerds);
    let containerd = Containerd::start(&world.scratch);
    labels_do_what_they_do_on_containerd(&world);
    containerd.stop();
}

fn a_task_that_is_killed_is_deleted_and_made_anew_at_once(shim: Shim) {
    let world = World::new(shim);
    let manager = world.manager_that_scans("1h");
    let id = world.id("killed");
    let (mut subscriber, events) = world.events("events");
    world.run_labelled(&id, &["status=running"], "exec sleep 600").ok();

    world.ctr(&["tasks", "kill", "--signal", "KILL", &id]).ok();

    wait::until_true("it runs again without a scan", 20, || {
        world.runs(&id) == 2 && world.status(&id) == "RUNNING"
    });
    let told = || topics_of(&fs::read_to_string(&events).expect("the folder is ours"), &id);
    let expected = ["create", "start", "exit", "delete", "create", "start"].map(|topic| format!("/tasks/{topic}"));
    wait::until_true("the last event has come", 10, || told().len() >= expected.len());
    assert_eq!(told(), expected);
    assert_eq!(world.shims(&id).len(), 1);
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    subscriber.kill().expect("ctr runs");
    subscriber.wait().expect("ctr is a child");
    manager.stop();
}

/// Nobody else can say how it ended, and without that `on-failure` would not go on.
fn a_task_whose_shim_is_killed_has_failed(shim: Shim) {
    let world = World::new(shim);
    let manager = world.manager_that_scans("1h");
    let id = world.id("orphan");
    world
        .run_labelled(&id, &["status=running", "policy=on-failure"], "exec sleep 600")
        .ok();
    for pid in world.shims(&id) {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    wait::until_true("it runs again", 30, || {
        world.runs(&id) == 2 && world.status(&id) == "RUNNING"
    });
    assert_eq!(world.restarts(&id).as_deref(), Some("1"));
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

/// A client makes a task, and starts it then.
#[test]
fn a_task_that_is_not_started_is_its_makers_until_two_scans_have_met_it() {
    let world = World::new(Shim::Ours);
    let manager = world.manager_that_scans("1h");
    let [started, left, witness] = ["started", "left", "witness"].map(|name| world.id(name));
    for id in [&started, &left] {
        world.create_labelled(id);
        call(&manager, async |tasks| {
            let container_id = id.clone();
            let create = CreateTaskRequest {
                container_id,
                ..Default::default()
            };
            tasks.create(create).await.expect("it is made");
        });
    }
    world.create_labelled(&witness);
    manager.kill();

    let manager = world.manager_that_scans("1h");
    wait::until_true("there was a scan", 20, || world.status(&witness) == "RUNNING");
    call(&manager, async |tasks| {
        let container_id = started.clone();
        let start = StartRequest {
            container_id,
            ..Default::default()
        };
        tasks.start(start).await.expect("nobody has removed it");
    });
    assert_eq!([&started, &left].map(|id| world.status(id)), ["RUNNING", "CREATED"]);
    manager.stop();

    let manager = world.manager_that_scans("1s");
    wait::until_true("it is made anew", 20, || world.status(&left) == "RUNNING");
    assert_eq!([&started, &left].map(|id| world.restarts(id)), [None, Some("1".into())]);
    for id in [&started, &left, &witness] {
        world.remove(id);
        world.assert_nothing_is_left_of(id);
    }
    manager.stop();
}

fn call(manager: &Manager, work: impl AsyncFnOnce(&mut Client)) {
    block_on(async {
        let channel = channel::to(manager.socket()).await;
        work(&mut TasksClient::with_interceptor(
            channel,
            channel::in_the_namespace as fn(_) -> _,
        ))
        .await;
    });
}

/// The first restart is held while its task is made.
fn what_happens_during_a_restart_is_heeded_before_the_program_runs(shim: Shim) {
    let world = World::new(shim);
    let manager = world.manager_that_scans("1h");
    let [relabelled, deleted] = ["relabelled", "deleted"].map(|name| world.id(name));
    let slow = world.with_slow_creation();
    let slow: Vec<_> = slow.iter().map(|option| option.to_str().expect("ASCII")).collect();
    for (id, change) in [
        (
            &relabelled,
            &["containers", "label", &relabelled, "containerd.io/restart.policy=no"][..],
        ),
        (&deleted, &["containers", "rm", &deleted]),
    ] {
        let restart = world.held_restart(&slow, id, &["status=running"], 0);
        world.ctr(change).ok();
        restart.go();
        wait::until_true("the restart has come to its end", 20, || world.records() == 0);
        world.assert_nothing_is_left_of(id);
        assert_eq!(world.runs(id), 1, "{id}");
    }
    assert_eq!(world.restarts(&relabelled), None);
    world.remove(&relabelled);
    manager.stop();
}

/// The rest of an earlier task is in the way of every new one.
#[test]
fn a_restart_that_is_refused_is_not_counted() {
    let world = World::new(Shim::Ours);
    let manager = world.manager_that_scans("1s");
    let id = world.id("refused");
    let bundle = world
        .scratch
        .join("cstate/io.containerd.runtime.v2.task/default")
        .join(&id);
    // Once it answers, what it finds is not from an earlier run any more.
    world.ctr(&["version"]).ok();
    fs::create_dir_all(&bundle).expect("the scratch is ours");
    world.create_labelled(&id);
    let refused = format!("task {id}: already exists");
    wait::until_true("it is tried again and again", 20, || {
        world.log().matches(&refused).count() >= 3
    });
    assert_eq!(world.restarts(&id), None);
    fs::remove_dir(&bundle).expect("it is empty");
    wait::until_true("it is made", 20, || world.status(&id) == "RUNNING");
    assert_eq!(world.restarts(&id).as_deref(), Some("1"));
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

#[test]
fn a_container_of_an_image_comes_back_with_its_files_and_writes_into_its_log() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let archive = world.scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    world.ctr(&["images", "import", archive.to_str().expect("ASCII")]).ok();
    let (id, log) = (world.id("image"), world.scratch.join("log"));
    let uri = format!("containerd.io/restart.loguri=file://{}", log.display());
    let script = "echo run >>/runs; wc -l </runs; [ $(wc -l </runs) -lt 3 ] || exec sleep 600";
    let run = [
        "run",
        "--detach",
        "--runtime",
        world.shim.runtime(),
        "--label",
        STATUS,
        "--label",
        &uri,
    ];
    let container = ["docker.io/library/busybox:latest", &id, "/bin/sh", "-c", script];
    world.ctr(&[&run[..], &container].concat()).ok();
    wait::until_true("the third run is logged", 20, || {
        fs::read_to_string(&log).is_ok_and(|text| text == "2\n3\n")
    });
    assert_eq!(world.restarts(&id).as_deref(), Some("2"));
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

#[test]
fn a_terminal_that_nobody_watches_is_no_hindrance() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let [logged, unlogged] = ["logged", "unlogged"].map(|name| world.id(name));
    let log = world.scratch.join("log");
    let uri = format!("containerd.io/restart.loguri=file://{}", log.display());
    let create = [
        "containers",
        "create",
        "--runtime",
        world.shim.runtime(),
        "--tty",
        "--label",
        STATUS,
    ];
    let root = world.root.to_str().expect("ASCII");
    let program = ["/bin/sh", "-c", "tty; exec sleep 600"];
    for (id, label) in [(&logged, &["--label", &uri][..]), (&unlogged, &[])] {
        let container = [&["--rootfs", root, id][..], &program].concat();
        world.ctr(&[&create[..], label, &container].concat()).ok();
    }
    for id in [&logged, &unlogged] {
        wait::until_true(&format!("{id} runs"), TWO_SCANS, || world.status(id) == "RUNNING");
    }
    wait::until_true("the terminal's output is logged", 10, || {
        fs::read_to_string(&log).is_ok_and(|text| text == "/dev/pts/0\r\n")
    });
    for id in [&logged, &unlogged] {
        world.remove(id);
    }
    manager.stop();
}

#[test]
fn labels_that_say_nothing_are_named_in_the_log_and_harm_no_other_container() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let [bad, good] = ["bad", "good"].map(|name| world.id(name));
    world
        .run_labelled(&bad, &["status=running", "policy=sometimes"], "exit 1")
        .ok();
    world
        .run_labelled(&good, &["status=running", "count=many"], "exit 1")
        .ok();
    wait::until_true("the other one is restarted", 20, || world.runs(&good) >= 2);
    assert_eq!((world.runs(&bad), world.status(&bad).as_str()), (1, "STOPPED"));
    let log = world.log();
    assert!(log.contains("restart policy \"sometimes\" is not one of"), "{log}");
    for id in [&bad, &good] {
        world.remove(id);
    }
    manager.stop();
}

with_both_shims!(
    a_task_that_is_killed_is_deleted_and_made_anew_at_once
    a_task_whose_shim_is_killed_has_failed
    what_happens_during_a_restart_is_heeded_before_the_program_runs
);
