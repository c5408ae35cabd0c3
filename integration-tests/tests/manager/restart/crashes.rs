//! Crashes: of a program in a loop, of a manager with its restarts under way, of a shim that hangs.

use std::{fs, path::PathBuf, thread::sleep, time::Duration};

use davit_integration_tests::wait;
use nix::sys::signal::{Signal, kill};

use crate::{Shim, World, with_both_shims};

/// A restart whose new task is being made, until it is let go.
pub struct Held {
    go: PathBuf,
    began: PathBuf,
}

impl Held {
    pub fn go(self) {
        fs::write(&self.go, "").expect("the scratch is ours");
        fs::remove_file(&self.began).expect("the creation made it");
    }
}

impl World {
    /// Runs a container once, and returns when its second task is being made. `slow` are the options of slow creation.
    pub fn held_restart(&self, slow: &[&str], id: &str, labels: &[&str], code: u32) -> Held {
        let [began, go] = ["began", "go"].map(|name| self.scratch.join(name));
        fs::write(&go, "").expect("the scratch is ours");
        let script = format!("until [ -e /{id}.end ]; do sleep 0.1; done; exit {code}");
        self.run_with(slow, id, labels, &script).ok();
        for path in [&go, &began] {
            fs::remove_file(path).expect("the creation made it");
        }
        self.touch(&format!("{id}.end"));
        wait::until_true("the restart has come to the creation", 20, || began.exists());
        Held { go, began }
    }

    /// Makes a file that scripts wait for.
    fn touch(&self, name: &str) {
        fs::write(self.root.join(name), "").expect("the root is ours");
    }

    fn pid(&self, id: &str) -> String {
        let list = self.ctr(&["tasks", "list"]).ok();
        let mut words = list.split_whitespace().skip_while(|word| *word != id);
        words.nth(1).expect("it runs").to_owned()
    }

    fn hundredths(&self, id: &str) -> Vec<u64> {
        let text = fs::read_to_string(self.root.join(format!("{id}.times"))).unwrap_or_default();
        let parsed = text.lines().map(|line| line.replace('.', "").parse());
        parsed.collect::<Result<_, _>>().expect("hundredths of a second")
    }

    /// How many restarts are under way.
    pub fn records(&self) -> usize {
        let folder = "cstate/io.containerd.monitor.container.v1.restart/default";
        fs::read_dir(self.scratch.join(folder))
            .expect("there was a record")
            .count()
    }
}

#[test]
fn a_loop_of_crashes_slows_down_and_ends_with_its_container_or_its_label() {
    let world = World::new(Shim::Ours);
    let manager = world.manager_that_scans("1s");
    let [deleted, relabelled] = ["deleted", "relabelled"].map(|name| world.id(name));
    for id in [&deleted, &relabelled] {
        let script = format!("cut -d' ' -f1 /proc/uptime >>/{id}.times; exit 1");
        world.run_labelled(id, &["status=running"], &script).ok();
    }
    for id in [&deleted, &relabelled] {
        wait::until_true("there were some restarts", 30, || world.hundredths(id).len() >= 5);
        let times = world.hundredths(id);
        for (pair, pause) in times.windows(2).zip([10, 20, 40, 80]) {
            // Both ends are rounded.
            assert!(pair[1] + 1 >= pair[0] + pause, "{times:?}");
        }
    }
    // ctr refuses while it runs, which it does for a moment again and again.
    let remove = ["containers", "rm", &deleted];
    wait::until_true("it is removed between two runs", 20, || world.ctr(&remove).code == 0);
    world.label(&relabelled, "policy=no");
    world.let_it_scan("before");
    let ran = [&deleted, &relabelled].map(|id| world.runs(id));
    world.let_it_scan("after");

    assert_eq!([&deleted, &relabelled].map(|id| world.runs(id)), ran);
    world.assert_nothing_is_left_of(&deleted);
    // Its last task may have been removed already when the label came.
    assert!(["STOPPED", ""].contains(&world.status(&relabelled).as_str()));
    world.remove(&relabelled);
    manager.stop();
}

/// Also those of which nobody heard, and the shim of one is dead.
fn what_ends_while_there_is_no_manager_is_started_by_the_next(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [always, fails, no, ends_well, orphan] = ["always", "fails", "no", "well", "orphan"].map(|name| world.id(name));
    let wait_for_end = |id: &str, code: u32| {
        format!("[ $(wc -l </{id}) -lt 2 ] || exec sleep 600; until [ -e /end ]; do sleep 0.1; done; exit {code}")
    };
    for (id, policy, code) in [
        (&always, "policy=always", 0),
        (&fails, "policy=on-failure:1", 3),
        (&no, "policy=no", 3),
        (&ends_well, "policy=on-failure", 0),
    ] {
        let script = wait_for_end(id, code);
        world.run_labelled(id, &["status=running", policy], &script).ok();
    }
    world
        .run_labelled(&orphan, &["status=running", "policy=on-failure"], "exec sleep 600")
        .ok();
    let ending = [&always, &fails, &no, &ends_well].map(|id| PathBuf::from("/proc").join(world.pid(id)));

    manager.kill();
    for pid in world.shims(&orphan) {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    world.touch("end");
    wait::until_true("they have ended", 20, || !ending.iter().any(|process| process.exists()));
    assert_eq!([&always, &fails, &no, &ends_well].map(|id| world.runs(id)), [1; 4]);
    let manager = shim.manager(&world.scratch);

    for id in [&always, &fails, &orphan] {
        wait::until_true(&format!("{id} runs again"), 30, || {
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

/// Nor does what hangs lose its own restart.
#[test]
fn a_shim_that_hangs_delays_no_restart_but_its_own() {
    let world = World::new(Shim::Ours);
    let manager = world.manager_that_scans("1h");
    let [hangs, other] = ["hangs", "other"].map(|name| world.id(name));
    let script = |id: &str| {
        format!("[ $(wc -l </{id}) -lt 2 ] || exec sleep 600; until [ -e /end ]; do sleep 0.1; done; exit 3")
    };
    for id in [&hangs, &other] {
        let labels = ["status=running", "policy=on-failure"];
        world.run_labelled(id, &labels, &script(id)).ok();
    }
    let shims = world.shims(&hangs);
    manager.kill();
    for pid in &shims {
        kill(*pid, Signal::SIGSTOP).expect("the shim runs");
    }
    world.touch("end");

    let manager = world.manager_with(
        "[timeouts]\n'io.containerd.timeout.shim.load' = '10m'\n\
         [plugins.'io.containerd.monitor.container.v1.restart']\ninterval = '1h'\n",
    );
    wait::until_true("the other one runs again", 30, || world.runs(&other) == 2);
    assert!(!world.log().contains("id=\"hangs") && world.runs(&hangs) == 1);
    for pid in &shims {
        kill(*pid, Signal::SIGCONT).expect("the shim runs");
    }
    wait::until_true("what has hung runs again", 30, || world.runs(&hangs) == 2);
    for id in [&hangs, &other] {
        assert_eq!(world.restarts(id).as_deref(), Some("1"), "{id}");
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
        wait::until_true("there is one shim at most", 20, || world.shims(&id).len() <= 1);
    }
    world.label(&id, "status=stopped");
    wait::until_true("no restart is under way", 20, || world.records() == 0);
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
    let slow = world.with_slow_creation();
    let slow: Vec<_> = slow.iter().map(|option| option.to_str().expect("ASCII")).collect();
    let restart = world.held_restart(&slow, &id, &["status=running", "policy=on-failure:1"], 3);

    manager.kill();
    let manager = world.manager_that_scans("1s");

    restart.go();
    wait::until_true("it has run again", 20, || world.runs(&id) == 2);
    world.wait_for_status(&id, "STOPPED");
    assert_eq!(world.restarts(&id).as_deref(), Some("1"));
    world.let_it_scan("after");
    assert_eq!((world.runs(&id), world.status(&id).as_str()), (2, "STOPPED"));
    assert_eq!(world.records(), 0);
    world.remove(&id);
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}

/// Without its container no client could find the task.
fn a_restart_that_neither_its_manager_nor_its_container_outlives_leaves_nothing(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let id = world.id("gone");
    let slow = world.with_slow_creation();
    let slow: Vec<_> = slow.iter().map(|option| option.to_str().expect("ASCII")).collect();
    let restart = world.held_restart(&slow, &id, &["status=running"], 0);
    world.ctr(&["containers", "rm", &id]).ok();

    manager.kill();
    restart.go();
    let manager = shim.manager(&world.scratch);

    wait::until_true("the record is gone", 30, || world.records() == 0);
    world.assert_nothing_is_left_of(&id);
    assert_eq!(world.runs(&id), 1);
    manager.stop();
}

with_both_shims!(
    what_ends_while_there_is_no_manager_is_started_by_the_next
    a_manager_killed_at_any_moment_of_a_restart_is_no_end_of_it
    a_restart_that_its_manager_did_not_outlive_is_finished_by_the_next
    a_restart_that_neither_its_manager_nor_its_container_outlives_leaves_nothing
);
