//! Processes of a container whose parents have ended, where the container shares the host's pids.

use std::{fs, path::Path};

use davit_integration_tests::wait;
use serde_json::json;

use crate::bundle::{Bundle, without_namespace};

/// A container of the host's pids that leaves an orphan and waits until it is told to end.
fn leaving_an_orphan() -> Bundle {
    let bundle = Bundle::new();
    let script = "mkfifo /end; sh -c 'sleep 600 & echo $! > /pid'; mv /pid /orphan; read line < /end; exit 7";
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        without_namespace(config, "pid");
    });
    bundle
}

/// The orphan's pid.
fn orphan(bundle: &Bundle) -> String {
    wait::until("the program has left an orphan", 10, || {
        let pid = fs::read_to_string(bundle.rootfs().join("orphan")).ok()?;
        Some(pid.trim().to_owned())
    })
}

pub fn parent_of(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.expect("a parent").trim().to_owned()
}

/// Gone, or nobody has waited for it yet.
fn has_ended(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

#[test]
fn a_run_in_the_foreground_adopts_orphans_and_takes_their_exit_codes() {
    let bundle = leaving_an_orphan();
    let folder = bundle.path();
    let mut run = bundle
        .command(&["run", "--bundle", &folder, bundle.id()])
        .spawn()
        .expect("the runtime is built");
    let pid = orphan(&bundle);
    assert_eq!(parent_of(&pid), run.id().to_string());
    bundle.exec(&["kill", "-9", &pid]).ok();
    wait::until_true("the orphan is no zombie", 10, || {
        !Path::new("/proc").join(&pid).exists()
    });
    // Its end is not taken for the container's.
    assert_eq!(bundle.state()["status"], "running");
    fs::write(bundle.rootfs().join("end"), "now\n").expect("the program reads");
    assert_eq!(run.wait().expect("it is ours").code(), Some(7));
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn a_run_that_is_no_subreaper_leaves_orphans_to_others_and_they_end_with_the_container() {
    let bundle = leaving_an_orphan();
    let folder = bundle.path();
    let mut run = bundle
        .command(&["run", "--no-subreaper", "--bundle", &folder, bundle.id()])
        .spawn()
        .expect("the runtime is built");
    let pid = orphan(&bundle);
    let parent = parent_of(&pid);
    assert_ne!(parent, run.id().to_string());
    fs::write(bundle.rootfs().join("end"), "now\n").expect("the program reads");
    assert_eq!(run.wait().expect("it is ours").code(), Some(7));
    wait::until_true("the orphan has ended", 10, || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_signal_for_all_reaches_every_process_and_not_the_first_alone() {
    let bundle = Bundle::new();
    // The first process outlives it, and one that was started by an exec is nobody's child.
    let script = "trap 'touch /first' TERM; sh -c 'trap \"touch /heard; exit\" TERM; touch /listens; while :; do sleep 0.1; done' & \
                  while :; do sleep 0.1; done";
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        without_namespace(config, "pid");
    });
    let (folder, id, pid_file) = (bundle.path(), bundle.id(), bundle.file("pid"));
    bundle.runtime(&["run", "--detach", "--bundle", &folder, id]).ok();
    let exec = ["exec", "--detach", "--pid-file", &pid_file, id, "sleep", "600"];
    bundle.runtime(&exec).ok();
    let exec = fs::read_to_string(pid_file).expect("a pid file");
    let is_there = |name: &str| bundle.rootfs().join(name).exists();
    wait::until_true("the child listens", 10, || is_there("listens"));
    bundle.runtime(&["kill", id, "TERM"]).ok();
    wait::until_true("the first has heard", 10, || is_there("first"));
    // Who had got it, too, would have acted on it by now.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!is_there("heard") && !has_ended(&exec));
    bundle.runtime(&["kill", "--all", id, "TERM"]).ok();
    wait::until_true("the child has heard", 10, || is_there("heard"));
    wait::until_true("the exec has ended", 10, || has_ended(&exec));
    assert_eq!(bundle.state()["status"], "running");
    bundle.runtime(&["kill", "--all", id, "KILL"]).ok();
    wait::until_true("the container is stopped", 10, || bundle.state()["status"] == "stopped");
    // Of those that are gone, one that asks for all wants nothing more.
    bundle.runtime(&["kill", "--all", id, "TERM"]).ok();
    bundle
        .runtime(&["kill", id, "TERM"])
        .code_is(1)
        .says("container not running");
    bundle.runtime(&["delete", id]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}
