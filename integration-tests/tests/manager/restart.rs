//! The restart monitor: what its labels do, here and on the real containerd; and what ours adds, which hears of an end at once,
//! waits longer after each, and goes on where a killed manager stopped.

use std::{fs, thread::sleep, time::Duration};

use davit_integration_tests::{Containerd, Finished, image, wait};

use crate::{Shim, World, topics_of, with_both_shims};

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
    world.run_labelled(&to_stop, &["status=stopped"], "exec sleep 600").ok();
    world.run_labelled(&paused, &["status=running"], "exec sleep 600").ok();
    world.ctr(&["tasks", "pause", &paused]).ok();
    let root = world.root.to_str().expect("ASCII");
    let container = ["--label", STATUS, "--rootfs", root, &never_made, "/bin/sleep", "600"];
    let create = ["containers", "create", "--runtime", world.shim.runtime()];
    world.ctr(&[&create[..], &container].concat()).ok();

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
    let manager = shim.manager(&world.scratch);
    let id = world.id("killed");
    let (mut subscriber, events) = world.events("events");
    world.run_labelled(&id, &["status=running"], "exec sleep 600").ok();

    world.ctr(&["tasks", "kill", "--signal", "KILL", &id]).ok();

    wait::until_true("it runs again before any scan", 8, || {
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

#[test]
fn a_loop_of_crashes_slows_down_and_ends_with_its_container_or_its_label() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let [deleted, relabelled] = ["deleted", "relabelled"].map(|name| world.id(name));
    for id in [&deleted, &relabelled] {
        world.run_labelled(id, &["status=running"], "exit 1").ok();
    }

    // The pauses before are 0.1, 0.2, 0.4 and 0.8 seconds; the next is 1.6.
    for id in [&deleted, &relabelled] {
        wait::until_true("there were some restarts", 20, || world.runs(id) >= 5);
    }
    // ctr refuses while it runs, which it does for a moment again and again.
    let remove = ["containers", "rm", &deleted];
    wait::until_true("it is removed between two runs", 20, || world.ctr(&remove).code == 0);
    world.label(&relabelled, "policy=no");
    let ran = [&deleted, &relabelled].map(|id| world.runs(id));
    assert!(ran.iter().all(|runs| *runs <= 7), "{ran:?}");
    sleep(Duration::from_secs(12));

    assert_eq!(world.runs(&deleted), ran[0]);
    world.assert_nothing_is_left_of(&deleted);
    assert_eq!(
        (world.runs(&relabelled), world.status(&relabelled).as_str()),
        (ran[1], "STOPPED")
    );
    world.remove(&relabelled);
    manager.stop();
}

#[test]
fn in_five_seconds_a_loop_of_crashes_restarts_a_handful_of_times() {
    let world = World::new(Shim::Ours);
    let manager = Shim::Ours.manager(&world.scratch);
    let id = world.id("loops");
    world.run_labelled(&id, &["status=running"], "exit 0").ok();
    sleep(Duration::from_secs(5));
    let runs = world.runs(&id);
    assert!((3..=6).contains(&runs), "{runs} runs");
    world.remove(&id);
    manager.stop();
}

/// Also those of which nobody heard, and the shim of one is dead.
fn what_ends_while_there_is_no_manager_is_started_by_the_next(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [always, fails, no, ends_well, orphan] = ["always", "fails", "no", "well", "orphan"].map(|name| world.id(name));
    let once = |id: &str, code: u32| format!("[ $(wc -l </{id}) -lt 2 ] || exec sleep 600; sleep 2; exit {code}");
    for (id, policy, code) in [
        (&always, "policy=always", 0),
        (&fails, "policy=on-failure:1", 3),
        (&no, "policy=no", 3),
        (&ends_well, "policy=on-failure", 0),
    ] {
        world
            .run_labelled(id, &["status=running", policy], &once(id, code))
            .ok();
    }
    world
        .run_labelled(&orphan, &["status=running", "policy=unless-stopped"], "exec sleep 600")
        .ok();

    manager.kill();
    for pid in world.shims(&orphan) {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the shim runs");
    }
    sleep(Duration::from_secs(4));
    assert_eq!([&always, &fails, &no, &ends_well].map(|id| world.runs(id)), [1; 4]);
    let manager = shim.manager(&world.scratch);

    for id in [&always, &fails, &orphan] {
        wait::until_true(&format!("{id} runs again"), 20, || {
            world.runs(id) == 2 && world.status(id) == "RUNNING"
        });
        assert_eq!(world.restarts(id).as_deref(), Some("1"), "{id}");
    }
    for id in [&no, &ends_well] {
        assert_eq!((world.runs(id), world.status(id).as_str()), (1, "STOPPED"), "{id}");
    }
    for id in [&always, &fails, &no, &ends_well, &orphan] {
        world.remove(id);
        world.assert_nothing_is_left_of(id);
    }
    manager.stop();
}

/// Whatever the moment, the restarts go on, and there is one shim at most.
fn a_manager_killed_at_any_moment_of_a_restart_is_no_end_of_it(shim: Shim) {
    let world = World::new(shim);
    let mut manager = shim.manager(&world.scratch);
    let id = world.id("loops");
    world
        .run_labelled(&id, &["status=running", "policy=on-failure"], "exit 3")
        .ok();
    for moment in 0..12 {
        let runs = world.runs(&id);
        wait::until_true("it runs again", 20, || world.runs(&id) > runs);
        sleep(Duration::from_millis(100 + 25 * moment));
        manager.kill();
        manager = shim.manager(&world.scratch);
        assert!(world.shims(&id).len() <= 1);
    }
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

/// The old task is gone, the new one is being made. How the old one ended only the record of the restart says, and without it
/// `on-failure` would not go on; that it is counted already, too, and then `on-failure:1` would not.
fn a_restart_that_its_manager_did_not_outlive_is_finished_by_the_next(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let id = world.id("cut");
    let [began, go] = ["began", "go"].map(|name| world.scratch.join(name));
    let slow = world.with_slow_creation();
    let slow: Vec<_> = slow.iter().map(|option| option.to_str().expect("ASCII")).collect();
    fs::write(&go, "").expect("the scratch is ours");
    let labels = ["status=running", "policy=on-failure:1"];
    world.run_with(&slow, &id, &labels, "sleep 2; exit 3").ok();
    for path in [&go, &began] {
        fs::remove_file(path).expect("the creation made it");
    }
    wait::until_true("the restart has come to the creation", 20, || began.exists());

    manager.kill();
    let manager = shim.manager(&world.scratch);

    fs::write(&go, "").expect("the scratch is ours");
    wait::until_true("it runs again", 20, || world.runs(&id) == 2);
    world.wait_for_status(&id, "STOPPED");
    assert_eq!(world.restarts(&id).as_deref(), Some("1"));
    sleep(Duration::from_secs(2));
    assert_eq!((world.runs(&id), world.status(&id).as_str()), (2, "STOPPED"));
    let records = world
        .scratch
        .join("cstate/io.containerd.monitor.container.v1.restart/default");
    assert_eq!(fs::read_dir(records).expect("there was a record").count(), 0);
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
    let log = fs::read_to_string(world.scratch.join("davit-containerd.log")).expect("the manager logs");
    assert!(log.contains("restart policy \"sometimes\" is not one of"), "{log}");
    for id in [&bad, &good] {
        world.remove(id);
    }
    manager.stop();
}

with_both_shims!(
    a_task_that_is_killed_is_deleted_and_made_anew_at_once
    what_ends_while_there_is_no_manager_is_started_by_the_next
    a_manager_killed_at_any_moment_of_a_restart_is_no_end_of_it
    a_restart_that_its_manager_did_not_outlive_is_finished_by_the_next
);
