//! Sandboxes: optional, and skipped where the shim does not offer the service.

use std::{fs, time::Duration};

use davit_integration_tests::wait;
use ttrpc::Code;

use crate::{
    task::refusal,
    world::{World, path_of},
};

const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

fn shim_ends(address: &str) {
    let socket = path_of(address);
    wait::until_true("the socket has gone with the shim", 10, || !socket.exists());
}

pub async fn a_sandbox_is_made_started_and_stopped_once(world: World) {
    let Some(sandbox) = world.sandbox("s", None).await else {
        return;
    };
    assert_eq!(refusal(sandbox.status().await), Code::NOT_FOUND);
    sandbox.create().await.expect("create");
    assert_eq!(refusal(sandbox.create().await), Code::ALREADY_EXISTS);
    assert_eq!(sandbox.status().await.expect("status").state, NOT_READY);
    let started = sandbox.start().await.expect("start");
    let status = sandbox.status().await.expect("status");
    assert_eq!((status.sandbox_id.as_str(), status.state.as_str()), ("s", READY));
    assert_eq!((status.pid, status.created_at), (started.pid, started.created_at));
    refusal(sandbox.start().await);
    sandbox.ping().await.expect("ping");
    assert_eq!(sandbox.platform().await.expect("platform").platform.os, "linux");
    let beside = sandbox.beside().await;
    let waiting = tokio::spawn(async move { beside.wait().await });
    sandbox.stop(1).await.expect("stop");
    let ended = waiting.await.expect("no panic").expect("wait");
    assert!(ended.exited_at.is_some());
    let status = sandbox.status().await.expect("status");
    assert_eq!((status.state.as_str(), status.exited_at), (NOT_READY, ended.exited_at));
    sandbox.stop(0).await.expect("it is stopped");
    sandbox.shutdown().await.expect("shutdown");
    shim_ends(&sandbox.address);
}

pub async fn a_sandbox_keeps_its_shim_and_ends_its_containers(world: World) {
    let Some(sandbox) = world.sandbox("s", None).await else {
        return;
    };
    sandbox.create().await.expect("create");
    sandbox.start().await.expect("start");
    for id in ["a", "b"] {
        world.bundle(id, "sleep 1000");
        let task = world.task_at(&sandbox.address, id).await;
        task.run().await;
    }
    let (a, b) = (world.task_at(&sandbox.address, "a").await, world.task_at(&sandbox.address, "b").await);
    a.end().await;
    a.shutdown().await.expect("an answer");
    sandbox.stop(0).await.expect("stop");
    assert_eq!(b.wait("").await.expect("wait"), 137);
    world.bundle("late", "true");
    refusal(world.task_at(&sandbox.address, "late").await.create().await);
    b.delete("").await.expect("delete");
    b.shutdown().await.expect("an answer");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sandbox.status().await.expect("it is there still").state, NOT_READY);
    sandbox.shutdown().await.expect("shutdown");
    shim_ends(&sandbox.address);
}

pub async fn a_sandbox_ends_with_a_process_of_its_own(world: World) {
    let script = "until [ -e /tmp/go ]; do sleep 0.01; done; exit 9";
    let Some(sandbox) = world.sandbox("s", Some(script)).await else {
        return;
    };
    sandbox.create().await.expect("create");
    let pid = sandbox.start().await.expect("start").pid;
    assert!(fs::exists(format!("/proc/{pid}")).expect("proc") && pid > 0);
    let metrics = sandbox.metrics().await.expect("metrics").metrics;
    assert!(metrics.data.type_url.starts_with("io.containerd.cgroups."), "{metrics:?}");
    fs::write(world.scratch.join("image/tmp/go"), "").expect("the root is ours");
    assert_eq!(sandbox.wait().await.expect("wait").exit_status, 9);
    assert_eq!(sandbox.status().await.expect("status").state, NOT_READY);
    sandbox.shutdown().await.expect("shutdown");
    shim_ends(&sandbox.address);
    world.told(&["create", "start", "exit", "delete"]).await;
}

pub async fn a_shutdown_leaves_nothing_of_the_group(world: World) {
    let Some(sandbox) = world.sandbox("s", Some("sleep 1000")).await else {
        return;
    };
    sandbox.create().await.expect("create");
    let own = sandbox.start().await.expect("start").pid;
    world.bundle("c", "sleep 1000");
    let task = world.task_at(&sandbox.address, "c").await;
    let pid = task.run().await;
    sandbox.shutdown().await.expect("shutdown");
    shim_ends(&sandbox.address);
    for pid in [own, pid] {
        assert!(!fs::exists(format!("/proc/{pid}")).expect("proc"));
    }
    for id in ["s", "c"] {
        assert_eq!(world.cgroup_file(id, "cgroup.procs"), None);
    }
    world.comes(|| world.topics().len() >= 8).await;
    let count = |topic: &str| world.topics().iter().filter(|told| *told == topic).count();
    assert_eq!((count("exit"), count("delete")), (2, 2));
}
