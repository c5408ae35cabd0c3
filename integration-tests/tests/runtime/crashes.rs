//! The runtime dies at each of its steps, and `delete --force` removes what is left.
//!
//! The steps are the fail points of the runtime's source, which a debug build obeys: a new one is tested without being
//! named here.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
};

use davit_integration_tests::{Finished, Run, sweep, wait, workspace};
use serde_json::json;

use crate::{
    bundle::{Bundle, without_namespace},
    checkpoint::{COUNTER, rig::Rig},
    update::control_file,
    user_namespaces,
};

pub const FAIL_POINT: &str = "DAVIT_FAIL_POINT";
/// Reached by a container without a mount namespace alone.
const ROOT_ATTACHED: &str = "create.root-attached";
/// Reached by a container with a user namespace alone.
const USER_NAMESPACE: &str = "create.user-namespace-";
/// Reached where there are shares of the caches alone.
pub const SHARE_RECORDED: &str = "update.share-recorded";
/// What a restore does as a creation does it.
const SHARED_WITH_RESTORE: [&str; 3] = ["create.reserved", "create.cgroup-made", "create.limited"];
/// The image is whole by then, and the container's processes are gone.
const DUMPED: &str = "checkpoint.dumped";

#[test]
fn a_creation_that_is_killed_at_any_step_can_be_removed_and_repeated() {
    let [bundle, bare, mapped] = [sleeper(), without_mount_namespace(), sleeper()];
    user_namespaces::map_ids(&mapped);
    for command in ["create", "run"] {
        for point in fail_points("create.") {
            let bundle = match point.as_str() {
                ROOT_ATTACHED => &bare,
                point if point.starts_with(USER_NAMESPACE) => &mapped,
                _ => &bundle,
            };
            killed_at(bundle, &point, &[command, "--bundle", &bundle.path(), bundle.id()]);
            nothing_is_left_of(bundle, &point);
        }
    }
    works(&bundle);
    works(&bare);
    works(&mapped);
}

#[test]
fn a_start_that_is_killed_at_any_step_leaves_a_container_that_can_be_removed() {
    let bundle = sleeper();
    for point in fail_points("start.") {
        create(&bundle);
        killed_at(&bundle, &point, &["start", bundle.id()]);
        nothing_is_left_of(&bundle, &point);
    }
    works(&bundle);
}

#[test]
fn a_first_process_that_dies_on_its_way_to_the_program_is_not_taken_for_one_that_executed_it() {
    let bundle = sleeper();
    for point in fail_points("run.") {
        killed_at(
            &bundle,
            &point,
            &["run", "--detach", "--bundle", &bundle.path(), bundle.id()],
        );
        let refusal = fs::read_to_string(bundle.file("killed")).expect("the bundle is ours");
        assert!(refusal.contains("died without a word"), "{refusal}");
        nothing_is_left_of(&bundle, &point);

        let mut create = bundle.command(&["create", "--bundle", &bundle.path(), bundle.id()]);
        create
            .env(FAIL_POINT, &point)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(create.status().expect("the runtime is built").success());
        bundle
            .runtime(&["start", bundle.id()])
            .code_is(1)
            .says("died without a word");
        nothing_is_left_of(&bundle, &point);
    }
    works(&bundle);
}

/// The kernel counts on where a cgroup is taken over.
#[test]
fn a_death_is_not_put_down_to_a_memory_limit_that_has_killed_somebody_before() {
    if !Path::new("/sys/fs/cgroup/memory/memory.oom_control").exists() {
        davit_integration_tests::skipped!("v1 does not limit memory here");
        return;
    }
    let bundle = sleeper();
    let folder = format!("/sys/fs/cgroup/memory/davit-tests/{}", bundle.id());
    let greedy = format!(
        "set -e; mkdir -p {folder}; cd {folder}; echo 4M > memory.limit_in_bytes; \
         [ ! -e memory.memsw.limit_in_bytes ] || echo 4M > memory.memsw.limit_in_bytes; \
         sh -c 'ulimit -v 1000000; echo 0 > tasks && exec tail /dev/zero' || true; grep '^oom_kill ' memory.oom_control"
    );
    for (point, verb) in [
        ("create.init-mounted", &["create"][..]),
        ("run.init-released", &["run", "--detach"]),
    ] {
        assert_eq!(Command::new("sh").args(["-c", &greedy]).finish().ok(), "oom_kill 1");
        killed_at(
            &bundle,
            point,
            &[verb, &["--bundle", &bundle.path(), bundle.id()]].concat(),
        );
        let said = fs::read_to_string(bundle.file("killed")).expect("the bundle is ours");
        assert!(said.contains("died without a word"), "{said}");
        nothing_is_left_of(&bundle, point);
    }
}

#[test]
fn an_exec_that_is_killed_at_any_step_does_not_harm_the_container() {
    let bundle = sleeper();
    for point in fail_points("exec.") {
        create(&bundle);
        bundle.runtime(&["start", bundle.id()]).ok();
        killed_at(&bundle, &point, &["exec", bundle.id(), "sleep", "600"]);
        assert_eq!(
            bundle.runtime(&["exec", bundle.id(), "echo", "fine"]).ok(),
            "fine",
            "{point}"
        );
        nothing_is_left_of(&bundle, &point);
    }
}

#[test]
fn a_deletion_that_is_killed_at_any_step_can_be_repeated() {
    let bundle = sleeper();
    for point in fail_points("delete.") {
        create(&bundle);
        bundle.runtime(&["start", bundle.id()]).ok();
        killed_at(&bundle, &point, &["delete", "--force", bundle.id()]);
        nothing_is_left_of(&bundle, &point);
    }
    works(&bundle);
}

#[test]
fn an_update_that_is_killed_at_any_step_leaves_a_container_that_can_be_updated() {
    let bundle = sleeper();
    let points = fail_points("update.")
        .into_iter()
        .filter(|point| point != SHARE_RECORDED);
    for (round, point) in points.enumerate() {
        create(&bundle);
        bundle.runtime(&["start", bundle.id()]).ok();
        let limit = (100 + round).to_string();
        let update = ["update", "--pids-limit", &limit, bundle.id()];
        killed_at(&bundle, &point, &update);
        assert_eq!(bundle.state()["status"], "running", "{point}");
        // Whether it took hold depends on the step; that it does in the end must not.
        bundle.runtime(&update).ok();
        bundle.runtime(&["update", "--cpu-share", "512", bundle.id()]).ok();
        let in_force = control_file(&bundle, "pids", "pids.max", "pids.max");
        assert_eq!(in_force, limit, "{point}");
        nothing_is_left_of(&bundle, &point);
    }
}

#[test]
fn a_checkpoint_that_is_killed_at_any_step_harms_neither_container_nor_image() {
    let Some(rig) = Rig::new() else { return };
    let bundle = &rig.bundle;
    for point in fail_points("checkpoint.") {
        rig.run(COUNTER);
        rig.counts_on();
        killed(rig.checkpoint_command(&[]), &point);
        if point == DUMPED {
            assert_eq!(bundle.state()["status"], "stopped");
        } else {
            rig.counts_on();
            rig.has_no_criu();
            assert_eq!(bundle.state()["status"], "running", "{point}");
            rig.checkpoint(&[]).ok();
        }
        nothing_is_left_of(bundle, &point);
        rig.restore(&[]).ok();
        rig.counts_on();
        nothing_is_left_of(bundle, &point);
    }
}

#[test]
fn a_restore_that_is_killed_at_any_step_can_be_removed_and_repeated() {
    let Some(rig) = Rig::new() else { return };
    // No open file: what was restored before its maker was killed has run, and criu refuses a file that has changed.
    rig.run("while true; do sleep 0.1; done");
    rig.checkpoint(&[]).ok();
    let shared = SHARED_WITH_RESTORE.iter().map(|point| (*point).to_owned());
    for point in fail_points("restore.").into_iter().chain(shared) {
        killed(rig.restore_command(&[]), &point);
        nothing_is_left_of(&rig.bundle, &point);
    }
    rig.restore(&[]).ok();
    assert_eq!(rig.exec(&["echo", "fine"]), "fine");
    nothing_is_left_of(&rig.bundle, "the last restore");
}

#[test]
fn every_fail_point_belongs_to_a_command_that_is_tested() {
    let tested = [
        "create.",
        "start.",
        "run.",
        "exec.",
        "update.",
        "checkpoint.",
        "restore.",
        "delete.",
    ];
    for point in fail_points("") {
        assert!(tested.iter().any(|command| point.starts_with(command)), "{point}");
    }
}

#[test]
fn a_forced_deletion_waits_for_a_creation_that_has_only_just_begun() {
    let [bundle, bare] = [sleeper(), without_mount_namespace()];
    // In between the folder is there and nothing says whether somebody still works on it.
    for point in fail_points("create.")
        .iter()
        .filter(|point| ![".init", ".user-namespace"].iter().any(|kind| point.contains(kind)))
    {
        let bundle = if point == ROOT_ATTACHED { &bare } else { &bundle };
        let mut create = bundle.command(&["create", "--bundle", &bundle.path(), bundle.id()]);
        let mut create = create
            .env(FAIL_POINT, format!("{point}:stop"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the runtime is built");
        wait::until_stopped("the creation is stopped", 10, create.id());
        let mut delete = bundle
            .command(&["delete", "--force", bundle.id()])
            .spawn()
            .expect("the runtime is built");
        std::thread::sleep(std::time::Duration::from_millis(100));
        // One whose folder was taken from it begins again, and comes by here once more.
        wait::until_true("the creation has ended", 20, || {
            signal("-CONT", create.id());
            create.try_wait().expect("it is a child").is_some()
        });
        assert!(delete.wait().expect("it is a child").success(), "{point}");
        nothing_is_left_of(bundle, point);
    }
}

#[test]
fn a_start_does_not_wait_for_ever_for_a_container_that_is_stopped() {
    let bundle = sleeper();
    create(&bundle);
    let pid = bundle.state()["pid"].as_u64().expect("a pid") as u32;
    signal("-STOP", pid);
    // Whoever looks at it stays in the queue of its gate.
    for _ in 0..20 {
        assert_eq!(bundle.state()["status"], "created");
    }
    let refusal = bundle.runtime(&["start", bundle.id()]).code_is(1);
    refusal.says("stopped by a signal").says("delete --force");
    signal("-CONT", pid);
    // The word of the start that has given up does not count.
    assert_eq!(bundle.state()["status"], "created");
    bundle.runtime(&["start", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn of_many_starts_at_once_one_starts_the_container() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["hooks"]["startContainer"] = json!([{"path": "/bin/sleep", "args": ["sleep", "0.3"]}]);
    });
    create(&bundle);
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let mut start = bundle.command(&["start", bundle.id()]);
            std::thread::spawn(move || start.finish())
        })
        .collect();
    let finished: Vec<Finished> = starts
        .into_iter()
        .map(|start| start.join().expect("no panic"))
        .collect();
    assert_eq!(
        finished.iter().filter(|start| start.code == 0).count(),
        1,
        "{finished:?}"
    );
    for late in finished.into_iter().filter(|start| start.code != 0) {
        late.code_is(1).says("cannot start an already running container");
    }
}

#[test]
fn of_200_creations_eight_at_a_time_none_is_lost() {
    let bundle = sleeper();
    bundle.edit(|config| {
        drop(
            config["linux"]
                .as_object_mut()
                .expect("an object")
                .remove("cgroupsPath"),
        )
    });
    let id = |number: usize| format!("{}-{number}", bundle.id());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (bundle, id) = (&bundle, &id);
            scope.spawn(move || {
                for number in (worker..200).step_by(8) {
                    bundle.create_as(&id(number)).ok();
                }
            });
        }
    });
    let ids = bundle.ids();
    assert_eq!(ids.len(), 200, "{ids:?}");
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (bundle, id) = (&bundle, &id);
            scope.spawn(move || {
                for number in (worker..200).step_by(8) {
                    bundle.runtime(&["start", &id(number)]).ok();
                    bundle.runtime(&["delete", "--force", &id(number)]).ok();
                }
            });
        }
    });
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn one_id_that_many_want_is_given_to_one_and_deletions_in_between_leave_nothing() {
    let bundle = sleeper();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let bundle = &bundle;
            scope.spawn(move || {
                for _ in 0..25 {
                    match worker {
                        0 => drop(bundle.runtime(&["delete", "--force", bundle.id()]).code_is(0)),
                        1 => drop(bundle.runtime(&["start", bundle.id()])),
                        _ => drop(bundle.create_as(bundle.id())),
                    }
                }
            });
        }
    });
    nothing_is_left_of(&bundle, "races");
}

#[test]
fn junk_in_the_store_hides_no_container_and_can_be_removed() {
    let bundle = sleeper();
    create(&bundle);
    let root = bundle.root();
    fs::create_dir(root.join("empty")).expect("the store is ours");
    fs::write(root.join("file"), "junk").expect("the store is ours");
    fs::create_dir(root.join("not an id")).expect("the store is ours");
    fs::create_dir(root.join("damaged")).expect("the store is ours");
    fs::write(root.join("damaged/state.json"), "{\"version\": 1, ").expect("the store is ours");
    std::os::unix::fs::symlink("/nowhere", root.join("link")).expect("the store is ours");

    let list = bundle
        .runtime(&["list", "--quiet"])
        .code_is(0)
        .says("damaged/state.json");
    assert_eq!(list.stdout.trim(), bundle.id());
    bundle.runtime(&["state", "damaged"]).code_is(1).says("delete --force");
    bundle
        .runtime(&["state", "empty"])
        .code_is(1)
        .says("container does not exist");
    for name in ["empty", "file", "damaged", "link"] {
        bundle.runtime(&["delete", "--force", name]).ok();
        assert!(root.join(name).symlink_metadata().is_err(), "{name}");
    }
}

#[test]
fn a_container_whose_record_or_config_is_damaged_can_be_removed_with_its_processes() {
    let bundle = sleeper();
    for (file, text) in [
        ("state.json", "{"),
        ("state.json", ""),
        ("config.json", "{"),
        ("state.json", "{\"pid\":1}"),
    ] {
        create(&bundle);
        bundle.runtime(&["start", bundle.id()]).ok();
        fs::write(bundle.root().join(bundle.id()).join(file), text).expect("the store is ours");
        nothing_is_left_of(&bundle, file);
    }
}

#[test]
fn a_log_that_cannot_be_written_is_named_and_a_full_one_hides_no_error() {
    let bundle = sleeper();
    bundle
        .runtime(&["--log", "/nowhere/log", "state", bundle.id()])
        .code_is(1)
        .says("open /nowhere/log: no such file or directory");
    bundle
        .runtime(&["--log", "/dev/full", "state", bundle.id()])
        .code_is(1)
        .says("container does not exist");
}

/// A bundle whose program stays, with a hook at each moment.
fn sleeper() -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        for moment in [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ] {
            config["hooks"][moment] = json!([{"path": "/bin/true"}]);
        }
    });
    bundle
}

fn without_mount_namespace() -> Bundle {
    let bundle = sleeper();
    bundle.edit(|config| {
        without_namespace(config, "mount");
        for field in ["maskedPaths", "readonlyPaths"] {
            config["linux"].as_object_mut().expect("an object").remove(field);
        }
    });
    bundle
}

fn create(bundle: &Bundle) {
    bundle.create_as(bundle.id()).ok();
}

fn killed_at(bundle: &Bundle, point: &str, args: &[&str]) {
    let log = fs::File::create(bundle.file("killed")).expect("the bundle is ours");
    let mut command = bundle.command(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    killed(command, point);
}

fn killed(mut command: Command, point: &str) {
    let status = command.env(FAIL_POINT, point).status().expect("the runtime is built");
    assert!(!status.success(), "{command:?} was not killed at {point}");
    // Of the other commands it may be the container's side that comes to a step.
    let dies_itself = ["update.", "checkpoint.", "restore.", "delete."];
    if dies_itself.iter().any(|command| point.starts_with(command)) {
        assert_eq!(status.signal(), Some(9), "{command:?} at {point}");
    }
}

/// The kernel and the store, after a forced deletion.
#[track_caller]
fn nothing_is_left_of(bundle: &Bundle, when: &str) {
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert!(!bundle.root().join(bundle.id()).exists(), "{when}: a folder is left");
    assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{when}");
    let folder = bundle.rootfs().parent().expect("the bundle").to_owned();
    wait::until_true(&format!("no process is left after {when}"), 5, || {
        sweep::processes_of(&folder, &[]).is_empty()
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    assert!(!mounts.contains(folder.to_str().expect("ASCII")), "{when}: {mounts}");
}

#[track_caller]
fn works(bundle: &Bundle) {
    assert_eq!(bundle.run(&["echo", "fine"]).ok(), "fine");
}

/// The names in the source that begin with `prefix`.
fn fail_points(prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    find_in(&workspace::root().join("runtime/src"), &mut found);
    found.retain(|point| point.starts_with(prefix));
    assert!(!found.is_empty(), "no fail point {prefix}");
    found
}

fn find_in(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the source is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_in(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).expect("the source is text");
        let names = text.split("fail_point::reach(\"").skip(1);
        found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
}

fn signal(name: &str, pid: u32) {
    Command::new("kill").args([name, &pid.to_string()]).finish();
}

#[test]
fn what_a_killed_creation_left_is_removed_without_whoever_took_its_cgroup() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    let killed = format!("killed-{}", bundle.id());
    killed_at(
        &bundle,
        "create.limited",
        &["create", "--bundle", &bundle.path(), &killed],
    );
    bundle.sleeping();
    let removal = bundle.runtime(&["delete", "--force", &killed]);
    removal.code_is(0).says("another container is in the cgroup by now");
    assert_eq!(bundle.state()["status"], "running");
    assert_eq!(bundle.exec(&["echo", "alive"]).ok(), "alive");
    assert_eq!(bundle.ids(), [bundle.id()]);
    nothing_is_left_of(&bundle, "the other one");
}
