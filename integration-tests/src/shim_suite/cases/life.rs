//! A container from its creation to its deletion.

use std::fs;

use davit_integration_tests::wait;
use davit_shim_api::{
    task_events::task::{TaskCreate, TaskDelete, TaskExit, TaskStart},
    task_v3::{mount::Mount, task::Status},
};

use crate::{task::refusal, world::World};

pub async fn a_life_is_told_in_order(world: World) {
    let task = world.task("c", "exit 7").await;
    let pid = task.create().await.expect("create");
    assert_eq!(task.start("").await.expect("start"), pid);
    assert_eq!(task.wait("").await.expect("wait"), 7);
    let deleted = task.delete("").await.expect("delete");
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert!(deleted.exited_at.is_some());
    world.told(&["create", "start", "exit", "delete"]).await;

    let create = &world.events.of::<TaskCreate>("/tasks/create")[0];
    assert_eq!((create.container_id.as_str(), create.pid), ("c", pid));
    assert_eq!(create.bundle, task.request.bundle);
    let start = &world.events.of::<TaskStart>("/tasks/start")[0];
    assert_eq!((start.container_id.as_str(), start.pid), ("c", pid));
    let exit = &world.events.of::<TaskExit>("/tasks/exit")[0];
    assert_eq!((exit.container_id.as_str(), exit.id.as_str()), ("c", "c"));
    assert_eq!((exit.pid, exit.exit_status), (pid, 7));
    let delete = &world.events.of::<TaskDelete>("/tasks/delete")[0];
    assert_eq!((delete.container_id.as_str(), delete.pid, delete.exit_status), ("c", pid, 7));
    assert_eq!(delete.exited_at, exit.exited_at);
}

pub async fn exit_codes_and_signals_are_told_as_a_shell_would(world: World) {
    for (index, (script, status)) in [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 0)].iter().enumerate() {
        let task = world.task(&format!("c{index}"), script).await;
        task.run().await;
        // The first process of a pid namespace is deaf to itself.
        assert_eq!(task.wait("").await.expect("wait"), *status, "{script}");
        task.delete("").await.expect("delete");
    }
    for signal in [9, 15] {
        let script = "trap 'kill -15 $child; exit 143' TERM; sleep 1000 & child=$!; touch /tmp/trapped; wait";
        let (task, _) = world.running(&format!("s{signal}"), script).await;
        let trapped = world.scratch.join("image/tmp/trapped");
        wait::until_true("the trap is set", 10, || trapped.exists());
        fs::remove_file(&trapped).expect("the root is ours");
        task.kill("", signal).await.expect("kill");
        assert_eq!(task.wait("").await.expect("wait"), 128 + signal);
        task.delete("").await.expect("delete");
    }
}

pub async fn a_container_has_the_state_that_it_is_in(world: World) {
    let task = world.task("c", "sleep 1000").await;
    let pid = task.create().await.expect("create");
    assert_eq!(task.status("").await, Status::CREATED);
    task.start("").await.expect("start");
    let state = task.state("").await.expect("state");
    assert_eq!((state.id.as_str(), state.pid, state.terminal), ("c", pid, false));
    assert_eq!(state.bundle, task.request.bundle);
    assert_eq!(task.status("").await, Status::RUNNING);
    task.kill("", 9).await.expect("kill");
    task.wait("").await.expect("wait");
    let state = task.state("").await.expect("state");
    assert_eq!((state.status.enum_value_or_default(), state.exit_status), (Status::STOPPED, 137));
    assert!(state.exited_at.is_some());
    let connected = task.connect().await.expect("connect");
    assert_eq!(connected.task_pid, pid);
    task.delete("").await.expect("delete");
}

pub async fn a_start_is_told_before_the_exit_that_overtakes_it(world: World) {
    for number in 0..20 {
        let (task, _) = world.running(&format!("c{number}"), "true").await;
        task.wait("").await.expect("wait");
        task.delete("").await.expect("delete");
        let life = ["create", "start", "exit", "delete"];
        world.told(&life.repeat(number + 1)).await;
        // Each container has a shim of its own.
        task.shutdown().await.expect("shutdown");
    }
}

pub async fn a_created_container_can_be_deleted_without_a_start(world: World) {
    let task = world.task("c", "true").await;
    let pid = task.create().await.expect("create");
    task.kill("", 9).await.expect("kill");
    task.wait("").await.expect("wait");
    assert_eq!(task.delete("").await.expect("delete").pid, pid);
    refusal(task.state("").await);
}

pub async fn what_cannot_be_run_is_refused_and_leaves_nothing(world: World) {
    world.bundle("c", "true");
    world.edit("c", |config| config["process"]["args"] = ["/no/such/program"].into());
    let task = world.task_in_bundle("c").await;
    // A runtime may see it only at the start.
    let refused = match task.create().await {
        Err(error) => error.to_string(),
        Ok(_) => {
            let refused = task.start("").await.expect_err("no program");
            task.delete("").await.expect("delete");
            refused.to_string()
        }
    };
    assert!(refused.contains("/no/such/program"), "{refused}");
    assert_eq!(world.cgroup_file("c", "cgroup.procs"), None);
    refusal(task.state("").await);
    task.shutdown().await.expect("shutdown");
}

pub async fn a_root_is_mounted_and_unmounted(world: World) {
    world.bundle("c", "cat /made; sleep 1000");
    world.edit("c", |config| config["root"]["path"] = "rootfs".into());
    let upper = world.scratch.join("upper");
    for folder in ["upper", "work"] {
        fs::create_dir(world.scratch.join(folder)).expect("a folder");
    }
    fs::write(upper.join("made"), "in the upper layer\n").expect("a file");
    let mut task = world.task_in_bundle("c").await;
    let path = |name: &str| world.scratch.join(name).display().to_string();
    task.request.rootfs = vec![Mount {
        type_: "overlay".into(),
        source: "overlay".into(),
        options: vec![
            format!("lowerdir={}", path("image")),
            format!("upperdir={}", path("upper")),
            format!("workdir={}", path("work")),
        ],
        ..Default::default()
    }];
    task.write_to(format!("file://{}", path("out")));
    task.run().await;
    wait::until_true("it writes", 10, || {
        fs::read_to_string(path("out")).is_ok_and(|text| text == "in the upper layer\n")
    });
    task.end().await;
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&path("c/rootfs")), "{mounts}");
}

pub async fn a_shim_ends_when_asked_and_not_before_its_last_container(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let shim = task.connect().await.expect("connect").shim_pid;
    let lives = || fs::exists(format!("/proc/{shim}")).expect("proc");
    // Whether it is refused or passed over, the container runs on.
    let _ = task.shutdown().await;
    assert!(task.state("").await.is_ok() && lives());
    task.end().await;
    task.shutdown().await.expect("shutdown");
    wait::until_true("the shim has ended", 10, || !lives());
}

pub async fn who_waits_late_is_answered_at_once(world: World) {
    let (task, _) = world.running("c", "exit 3").await;
    for _ in 0..3 {
        assert_eq!(task.wait("").await.expect("wait"), 3);
    }
    task.delete("").await.expect("delete");
}
