//! A creation that fails: it comes to its end whatever anybody does meanwhile, and leaves nothing.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use davit_integration_tests::{Finished, Run, sweep, wait};
use serde_json::{Value, json};

use crate::bundle::{Bundle, shell_hook, without_namespace};

/// Begins to create the container.
fn creation(bundle: &Bundle) -> Child {
    begin(bundle, "create", "no point")
}

/// Begins to make the container, up to a point.
fn begin(bundle: &Bundle, command: &str, point: &str) -> Child {
    let log = fs::File::create(bundle.file("creation.err")).expect("the bundle is ours");
    let mut command = bundle.command(&[command, "--bundle", &bundle.path(), bundle.id()]);
    command.env("DAVIT_FAIL_POINT", point);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the runtime is built")
}

#[track_caller]
fn nothing_is_left(bundle: &Bundle) {
    assert!(!bundle.root().join(bundle.id()).exists(), "a folder is left");
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn the_container_is_gone_when_its_poststop_hooks_run() {
    let bundle = Bundle::new();
    let (seen, go) = (bundle.file("seen"), bundle.file("go"));
    bundle.edit(|config| {
        config["hooks"]["createRuntime"] = shell_hook("exit 3");
        config["hooks"]["poststop"] = shell_hook(&format!(
            "cat > {seen}.new; mv {seen}.new {seen}; until [ -e {go} ]; do sleep 0.1; done"
        ));
    });
    let mut create = creation(&bundle);
    wait::until_true("the hook runs", 20, || fs::exists(&seen).is_ok_and(|exists| exists));
    nothing_is_left(&bundle);
    assert!(create.try_wait().expect("it is a child").is_none());
    fs::write(go, "").expect("the bundle is ours");
    assert!(!create.wait().expect("it is a child").success());
    let state: Value = serde_json::from_str(&fs::read_to_string(seen).expect("the hook wrote it")).expect("JSON");
    assert_eq!(state["status"], "stopped");
}

#[test]
fn what_a_hook_has_left_in_the_cgroup_of_a_failed_creation_is_killed() {
    let bundle = Bundle::new();
    let cwd = bundle.path();
    bundle.edit(|config| {
        without_namespace(config, "pid");
        config["hooks"]["createContainer"] =
            shell_hook(&format!("cd {cwd}; sleep 600 > /dev/null 2>&1 < /dev/null & exit 3"));
    });
    bundle.create_as(bundle.id()).code_is(1).says("createContainer hook #0");
    nothing_is_left(&bundle);
    let folder = bundle.rootfs().parent().expect("the bundle").to_owned();
    wait::until_true("no process is left", 5, || sweep::processes_of(&folder, &[]).is_empty());
}

/// What freezes a container from outside: pause refuses to while it is made.
fn freezing(bundle: &Bundle) -> String {
    let cgroup = format!("davit-tests/{}", bundle.id());
    format!(
        "if [ -e /sys/fs/cgroup/freezer ]; then echo FROZEN > /sys/fs/cgroup/freezer/{cgroup}/freezer.state; \
         else echo 1 > /sys/fs/cgroup/{cgroup}/cgroup.freeze; fi"
    )
}

#[test]
fn a_creation_that_fails_while_the_container_is_frozen_comes_to_its_end() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["hooks"]["createRuntime"] = shell_hook(&format!("{}; exit 3", freezing(&bundle))));
    let mut create = creation(&bundle);
    wait::until_true("create has ended", 20, || {
        create.try_wait().expect("it is a child").is_some()
    });
    let said = fs::read_to_string(bundle.file("creation.err")).expect("the bundle is ours");
    assert!(said.contains("createRuntime hook #0: exit status 3"), "{said}");
    nothing_is_left(&bundle);
}

#[test]
fn a_creation_does_not_wait_for_ever_for_a_container_that_is_frozen() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["hooks"]["createRuntime"] = shell_hook(&freezing(&bundle)));
    let mut create = creation(&bundle);
    wait::until_true("create has ended", 40, || {
        create.try_wait().expect("it is a child").is_some()
    });
    let said = fs::read_to_string(bundle.file("creation.err")).expect("the bundle is ours");
    assert!(said.contains("has been frozen for 10 seconds"), "{said}");
    nothing_is_left(&bundle);
}

#[test]
fn a_creation_whose_processes_cannot_be_killed_keeps_what_it_takes_to_do_it_later() {
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    if !freezer.exists() {
        davit_integration_tests::skipped!("on v2 a frozen process can be killed");
        return;
    }
    let bundle = Bundle::new();
    let parent = format!("/davit-tests/{}", bundle.id());
    let state = format!("{}{parent}/freezer.state", freezer.display());
    bundle.edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("{parent}/inner"));
        config["hooks"]["createRuntime"] = shell_hook(&format!("echo FROZEN > {state}; exit 3"));
    });
    let create = bundle.create_as(bundle.id());
    let is_kept = bundle.root().join(bundle.id()).exists();
    // First of all: nothing could end what is frozen if this test failed.
    fs::write(state, "THAWED").expect("the cgroup is ours");
    create
        .code_is(1)
        .says("delete --force removes what is left of the container");
    assert!(is_kept);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    for cgroup in bundle.cgroups() {
        // What was above the container's own is not the runtime's to remove.
        fs::remove_dir(cgroup).expect("nothing is left in it");
    }
    nothing_is_left(&bundle);
}

#[test]
fn a_creation_that_hangs_is_ended_by_a_forced_deletion() {
    let bundle = Bundle::new();
    for point in ["create.planned", "create.limited", "create.recorded"] {
        let mut create = begin(&bundle, "create", &format!("{point}:stop"));
        wait::until_stopped("the creation hangs", 20, create.id());
        let delete = bundle.runtime(&["delete", "--force", bundle.id()]);
        delete.code_is(0).says("does not come to an end");
        wait::until_true(&format!("the creation has ended at {point}"), 5, || {
            create.try_wait().expect("it is a child").is_some()
        });
        nothing_is_left(&bundle);
    }
}

#[test]
fn a_creation_gives_up_a_first_process_that_is_stopped_also_where_that_tells_details() {
    let bundle = Bundle::new();
    let (hook_runs, said) = (bundle.file("hook-runs"), bundle.file("creation.err"));
    // It is run by the first process, which has told its first details by then.
    bundle.edit(|config| {
        config["hooks"]["createContainer"] = shell_hook(&format!("> {hook_runs}; exec sleep 600"));
    });
    let mut command = bundle.command(&["--debug", "create", "--bundle", &bundle.path(), bundle.id()]);
    let log = fs::File::create(&said).expect("the bundle is ours");
    let mut create = bundle.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));
    wait::until_true("the hook runs", 20, || {
        fs::exists(&hook_runs).is_ok_and(|exists| exists)
    });
    let first = bundle.state()["pid"].to_string();
    Command::new("kill").args(["-STOP", &first]).finish().ok();
    let ended = wait::until("the creation has given up", 30, || create.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(1));
    let said = fs::read_to_string(said).expect("the creation wrote it");
    assert!(said.contains("stopped by a signal for 10 seconds"), "{said}");
    nothing_is_left(&bundle);
}

#[test]
fn who_runs_a_container_in_the_foreground_is_not_taken_for_who_makes_it() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    let mut run = begin(&bundle, "run", "no point");
    let folder = bundle.root().join(bundle.id());
    wait::until_true("it runs", 20, || {
        folder.join("state.json").exists() && bundle.state()["status"] == "running"
    });
    // Somebody else takes the time to remove something.
    let held = fs::File::open(&folder).expect("the store is ours");
    held.lock().expect("nobody makes the container any more");
    let mut delete = bundle.command(&["delete", "--force", bundle.id()]);
    let mut delete = delete.spawn().expect("the runtime is built");
    std::thread::sleep(Duration::from_secs(5));
    drop(held);
    assert!(delete.wait().expect("it is a child").success());
    // The container was killed, and the runtime says so: it was not killed itself.
    assert_eq!(run.wait().expect("it is a child").code(), Some(128 + 9));
    nothing_is_left(&bundle);
}

#[test]
fn a_clean_up_that_fails_hides_neither_an_exit_code_nor_an_error() {
    let bundle = Bundle::new();
    let held = bundle.root().join(bundle.id()).join("held").display().to_string();
    // A folder that something is mounted on cannot be removed.
    bundle.edit(|config| {
        config["hooks"]["createRuntime"] = shell_hook(&format!("mkdir {held} && mount --bind {held} {held}"));
    });
    let nothing_is_left_after = |finished: Finished, code: i32, why: &str| {
        let umount = Command::new("umount").arg(&held).finish();
        let what_to_do = "delete --force removes what is left of the container";
        finished.code_is(code).says(why).says(what_to_do);
        umount.ok();
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        nothing_is_left(&bundle);
    };
    nothing_is_left_after(bundle.run(&["sh", "-c", "exit 42"]), 42, "busy");
    let nowhere = bundle.file("nowhere/pid");
    let path = bundle.path();
    for command in ["create", "run"] {
        let args = [command, "--pid-file", &nowhere, "--bundle", &path, bundle.id()];
        nothing_is_left_after(bundle.runtime(&args), 1, "nowhere/");
    }
}
