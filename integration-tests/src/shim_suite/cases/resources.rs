//! The container's cgroup: freezing, limits, statistics, and the processes in it.

use std::{path::Path, time::Duration};

use davit_integration_tests::wait;
use davit_shim_api::{task_events::task::TaskOOM, task_v3::task::Status};
use serde_json::json;
use tokio::time;

use crate::world::World;

pub async fn a_container_stands_still_and_goes_on(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.pause().await.expect("pause");
    assert_eq!(task.status("").await, Status::PAUSED);
    task.resume().await.expect("resume");
    assert_eq!(task.status("").await, Status::RUNNING);
    world.told(&["create", "start", "paused", "resumed"]).await;
    task.end().await;
}

pub async fn a_changed_limit_is_in_the_cgroup(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    task.update(&json!({ "pids": { "limit": 77 } })).await.expect("update");
    assert_eq!(world.cgroup_file("c", "pids.max").as_deref(), Some("77\n"));
    task.end().await;
}

pub async fn statistics_have_the_type_of_the_machines_cgroups(world: World) {
    let (task, _) = world.running("c", "sleep 1000").await;
    let stats = task.stats().await.expect("stats");
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let expected = if is_v2 { "v2" } else { "v1" };
    assert_eq!(stats.type_url, format!("io.containerd.cgroups.{expected}.Metrics"));
    assert!(!stats.value.is_empty());
    task.end().await;
}

pub async fn the_processes_of_a_container_are_listed(world: World) {
    let (task, pid) = world.running("c", "sleep 1000 & wait").await;
    task.exec("e", "exec sleep 1000").await.expect("exec");
    let exec = task.start("e").await.expect("start");
    let mut pids = Vec::new();
    for _ in 0..100 {
        pids = task.pids().await.expect("pids");
        if pids.len() == 3 {
            break;
        }
        time::sleep(Duration::from_millis(50)).await;
    }
    assert!(pids.len() == 3 && pids.contains(&pid) && pids.contains(&exec), "{pids:?}");
    task.end().await;
}

pub async fn a_signal_for_all_reaches_who_has_left_the_first_process(world: World) {
    world.bundle("c", "setsid sleep 1000 & touch /tmp/both; sleep 1000");
    world.edit("c", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let task = world.task_in_bundle("c").await;
    task.run().await;
    let both = world.scratch.join("image/tmp/both");
    wait::until_true("the second runs", 10, || both.exists());
    task.kill_all(9).await.expect("kill");
    assert_eq!(task.wait("").await.expect("wait"), 137);
    task.delete("").await.expect("delete");
    assert_eq!(world.cgroup_file("c", "cgroup.procs"), None);
}

pub async fn too_much_memory_is_told(world: World) {
    world.bundle("c", "sleep 0.5; x=$(head -c 100000000 /dev/zero | tr '\\0' x); sleep 1000");
    world.edit("c", |config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": 16 << 20, "swap": 16 << 20 } });
    });
    let task = world.task_in_bundle("c").await;
    task.run().await;
    task.wait("").await.expect("wait");
    world
        .comes(|| !world.events.of::<TaskOOM>("/tasks/oom").is_empty())
        .await;
    assert_eq!(world.events.of::<TaskOOM>("/tasks/oom")[0].container_id, "c");
    task.delete("").await.expect("delete");
}
