//! Containers that stand still: paused, or by their own doing.

use std::{fs, path::PathBuf, process::Command, process::Stdio, thread};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use crate::{
    bundle::{Bundle, without_namespace},
    update::v2_alone,
};

/// The container's directory in the freezer's hierarchy.
fn folder(bundle: &Bundle) -> PathBuf {
    let root = if v2_alone() { "" } else { "freezer" };
    PathBuf::from("/sys/fs/cgroup")
        .join(root)
        .join("davit-tests")
        .join(bundle.id())
}

fn started(bundle: &Bundle, args: &[&str]) {
    bundle.edit(|config| config["process"]["args"] = json!(args));
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
}

fn is_stopped(bundle: &Bundle) -> bool {
    bundle.state()["status"] == "stopped"
}

fn with_the_hosts_pids(bundle: &Bundle) {
    bundle.edit(|config| without_namespace(config, "pid"));
}

#[test]
fn a_paused_container_can_be_killed_or_removed_by_force() {
    let bundle = Bundle::new();
    started(&bundle, &["sleep", "600"]);
    bundle.runtime(&["pause", bundle.id()]).ok();
    bundle
        .runtime(&["delete", bundle.id()])
        .code_is(1)
        .says("not stopped: paused");
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("it is stopped", 10, || is_stopped(&bundle));
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());

    for share in [|_: &Bundle| {}, with_the_hosts_pids] {
        share(&bundle);
        started(&bundle, &["sleep", "600"]);
        bundle.runtime(&["pause", bundle.id()]).ok();
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        assert_eq!(bundle.ids(), Vec::<String>::new());
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    }
}

#[test]
fn a_paused_container_takes_other_signals_when_it_goes_on() {
    let bundle = Bundle::new();
    started(
        &bundle,
        &[
            "sh",
            "-c",
            "trap 'exit 3' USR1; touch /ready; while :; do sleep 0.1; done",
        ],
    );
    let ready = bundle.rootfs().join("ready");
    wait::until_true("the trap is set", 10, || ready.exists());
    bundle.runtime(&["pause", bundle.id()]).ok();
    bundle.runtime(&["kill", bundle.id(), "USR1"]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    bundle.runtime(&["resume", bundle.id()]).ok();
    wait::until_true("it is stopped", 10, || is_stopped(&bundle));
}

/// One that may write to its cgroups can hide its first process in a frozen one, and see to it that it stays so.
#[test]
fn a_container_that_freezes_itself_can_be_killed_or_removed_by_force() {
    if v2_alone() {
        davit_integration_tests::skipped!("on v2 a frozen process dies like any other");
        return;
    }
    let script = "cd /sys/fs/cgroup/freezer && mkdir below && \
         { while :; do echo FROZEN > below/freezer.state; done & } && echo 0 > below/tasks; sleep 600";
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup");
        cgroup.expect("the example mounts it")["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
    });
    let start = || {
        started(&bundle, &["sh", "-c", script]);
        wait::until_true("it is frozen", 10, || {
            let [state, tasks] = ["freezer.state", "tasks"]
                .map(|file| fs::read_to_string(folder(&bundle).join("below").join(file)).unwrap_or_default());
            state == "FROZEN\n" && !tasks.is_empty()
        });
        assert_eq!(bundle.state()["status"], "running");
    };
    for share in [|_: &Bundle| {}, with_the_hosts_pids] {
        share(&bundle);
        start();
        bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
        wait::until_true("it is stopped", 10, || is_stopped(&bundle));
        bundle.runtime(&["delete", bundle.id()]).ok();
        start();
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    }
}

#[test]
fn a_paused_container_is_not_started_before_it_is_resumed() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle.create_as(bundle.id()).ok();
    bundle.runtime(&["pause", bundle.id()]).ok();
    bundle
        .runtime(&["start", bundle.id()])
        .code_is(1)
        .says("cannot start a container in the paused state");
    bundle.runtime(&["resume", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "created");
    bundle.runtime(&["start", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn a_start_gives_a_container_up_that_is_paused_meanwhile() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle.create_as(bundle.id()).ok();
    let start = bundle
        .command(&["start", bundle.id()])
        .env("DAVIT_FAIL_POINT", "start.connected:stop")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runtime is built");
    wait::until_stopped("the start is stopped", 10, start.id());
    bundle.runtime(&["pause", bundle.id()]).ok();
    Command::new("kill")
        .args(["-CONT", &start.id().to_string()])
        .finish()
        .ok();
    let output = start.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("has been frozen for 10 seconds"),
        "{text}"
    );
    bundle.runtime(&["resume", bundle.id()]).ok();
    // The word of the start that has given up does not count.
    assert_eq!(bundle.state()["status"], "created");
    bundle.runtime(&["start", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

/// A process of a shared pid namespace can outlive the first one for a while, in the middle of a device's work, say.
#[test]
fn a_deletion_waits_for_the_last_process_and_not_for_the_first() {
    if v2_alone() {
        davit_integration_tests::skipped!("nothing keeps a killed process from dying here");
        return;
    }
    let bundle = Bundle::new();
    with_the_hosts_pids(&bundle);
    started(&bundle, &["sh", "-c", "sleep 600 & sleep 600 & wait"]);
    let processes = || fs::read_to_string(folder(&bundle).join("cgroup.procs")).expect("it runs");
    wait::until_true("three run", 10, || processes().lines().count() == 3);
    let first = bundle.state()["pid"].to_string();
    let list = processes();
    let other = list.lines().find(|pid| *pid != first).expect("there are three");
    // Frozen where the runtime does not look, it is deaf to the SIGKILL for two seconds.
    let elsewhere = folder(&bundle).with_file_name(format!("elsewhere-{}", bundle.id()));
    fs::create_dir(&elsewhere).expect("cgroups can be made");
    fs::write(elsewhere.join("cgroup.procs"), other).expect("it can be moved");
    fs::write(elsewhere.join("freezer.state"), "FROZEN").expect("it can be frozen");
    let deleted = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(std::time::Duration::from_secs(2));
            fs::write(elsewhere.join("freezer.state"), "THAWED").expect("it can be thawed");
        });
        bundle.runtime(&["delete", "--force", bundle.id()])
    });
    wait::until_true("the cgroup is empty", 10, || fs::remove_dir(&elsewhere).is_ok());
    deleted.ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}
