//! Containers of one sandbox, or of one pod, in one shim.

use std::{fs, path::PathBuf, process::Stdio};

use davit_containerd_api::services::tasks::v1::{CreateTaskRequest, StartRequest, tasks_client::TasksClient};
use davit_integration_tests::wait;
use tonic::Code;

use super::{
    super::channel,
    rig::{Kind, Rig},
};

/// Two containers in the shim that is there already. One is removed, the manager is killed meanwhile, the other lives.
fn live_and_end_by_themselves(rig: &mut Rig, options: &[&str], [one, other]: [&str; 2]) {
    rig.run(options, one, "sleep 1000").ok();
    let shims = rig.shims();
    assert_eq!(shims.len(), 1);
    rig.run(options, other, "sleep 1000").ok();
    assert_eq!(rig.shims(), shims);
    let exec = ["tasks", "exec", "--exec-id", "e", other, "/bin/sh", "-c", "echo inside"];
    assert_eq!(rig.world.ctr(&exec).ok(), "inside");
    rig.kill();
    rig.start();
    for id in [one, other] {
        assert_eq!(rig.world.known_status(id), "RUNNING", "{id}");
    }
    rig.remove(one);
    assert_eq!(rig.shims(), shims);
    assert_eq!(rig.world.status(other), "RUNNING");
    assert_eq!(rig.world.ctr(&exec).ok(), "inside");
    // Its id is free again.
    rig.world.ctr(&["containers", "rm", one]).ok();
    rig.run(options, one, "sleep 1000").ok();
    assert_eq!(rig.shims(), shims);
    for id in [one, other] {
        rig.remove(id);
    }
}

async fn share_the_shim_of_their_sandbox(kind: Kind) {
    let mut rig = Rig::new(kind);
    let [id, one, other] = ["s", "one", "other"].map(|name| rig.world.id(name));
    rig.started(&id, None).await;
    let shims = rig.shims();
    live_and_end_by_themselves(&mut rig, &["--sandbox", &id], [&one, &other]);
    // The sandbox keeps the shim.
    assert_eq!(rig.shims(), shims);
    let mut controller = rig.controller().await;
    assert_eq!(controller.status(&id).await.expect("status").state, "SANDBOX_READY");
    controller.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_sandbox_share_its_shim() {
    for kind in [Kind::Containerd, Kind::Ours] {
        share_the_shim_of_their_sandbox(kind).await;
    }
}

/// As CRI marks the containers of a pod: no sandbox need be recorded.
#[test]
fn containers_of_a_pod_share_a_shim_that_ends_with_the_last() {
    for kind in [Kind::Containerd, Kind::WithContainerdsShim, Kind::Ours] {
        let mut rig = Rig::new(kind);
        let [one, other] = ["one", "other"].map(|name| rig.world.id(name));
        let pod = format!("io.kubernetes.cri.sandbox-id={one}");
        live_and_end_by_themselves(&mut rig, &["--annotation", &pod], [&one, &other]);
        rig.no_shim_is_left();
    }
}

/// As CRI does it with a pause container: the task of the sandbox's id is nothing but a task. With containerd's shim the first task
/// must not be the first to go, or the shim stays for ever.
#[tokio::test(flavor = "multi_thread")]
async fn containers_join_the_shim_of_the_task_that_stands_for_their_sandbox() {
    for (kind, first_goes_last) in [
        (Kind::WithContainerdsShim, true),
        (Kind::Ours, true),
        (Kind::Ours, false),
    ] {
        let mut rig = Rig::new(kind);
        let [pause, member] = ["pause", "member"].map(|name| rig.world.id(name));
        rig.record(rig.sandbox(&pause, None)).await;
        rig.run(&[], &pause, "sleep 1000").ok();
        rig.run(&["--sandbox", &pause], &member, "sleep 1000").ok();
        let shims = rig.shims();
        assert_eq!(shims.len(), 1, "{kind:?}");
        rig.kill();
        rig.start();
        let order = match first_goes_last {
            true => [&member, &pause],
            false => [&pause, &member],
        };
        for id in order {
            assert_eq!(rig.world.known_status(id), "RUNNING", "{kind:?}");
            assert_eq!(rig.shims(), shims);
            rig.remove(id);
        }
        rig.no_shim_is_left();
    }
}

/// A container with a sandbox of which there is no record has a shim of its own.
#[test]
fn a_container_of_an_unknown_sandbox_has_a_shim_of_its_own() {
    for kind in [Kind::Containerd, Kind::Ours] {
        let rig = Rig::new(kind);
        let [one, other] = ["one", "other"].map(|name| rig.world.id(name));
        for id in [&one, &other] {
            rig.run(&["--sandbox", "unknown"], id, "sleep 1000").ok();
        }
        assert_eq!(rig.shims().len(), 2);
        for id in [&one, &other] {
            rig.remove(id);
        }
        rig.no_shim_is_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_stopped_ends_its_containers_and_takes_no_more() {
    let rig = Rig::new(Kind::Ours);
    let [id, kind, stubborn, late] = ["s", "kind", "stubborn", "late"].map(|name| rig.world.id(name));
    let own = rig.spec(&id, "trap 'exit 3' TERM; while :; do sleep 0.01; done");
    rig.started(&id, Some(&own)).await;
    let options = ["--sandbox", id.as_str()];
    rig.run(
        &options,
        &kind,
        "trap 'exit 5' TERM; echo > /tmp-ready; while :; do sleep 0.01; done",
    )
    .ok();
    rig.run(&options, &stubborn, "trap '' TERM; while :; do sleep 0.01; done")
        .ok();
    wait::until_true("the traps are set", 10, || rig.world.root.join("tmp-ready").exists());
    let heard = rig.listen();
    let mut controller = rig.controller().await;
    controller.stop(&id, 2).await.expect("stop");
    assert_eq!(controller.wait(&id).await.expect("wait").exit_status, 3);
    for id in [&kind, &stubborn] {
        assert_eq!(rig.world.status(id), "STOPPED");
    }
    rig.run(&options, &late, "true")
        .code_is(1)
        .says("the sandbox has ended");
    rig.world.ctr(&["tasks", "rm", &kind]).says("exit code 5");
    controller.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
    wait::until_true("its task is gone", 10, || rig.world.status(&stubborn).is_empty());
    let expected = ["/tasks/exit".to_owned(), "/tasks/delete".to_owned()];
    for id in [&kind, &stubborn, &id] {
        // What was told in the manager's first moments is told to who comes later, too.
        let is_told = || heard.of_task(id).ends_with(&expected);
        wait::until_true("the end is told", 10, is_told);
        let ends = heard
            .of_task(id)
            .iter()
            .filter(|topic| expected.contains(topic))
            .count();
        assert_eq!(ends, 2, "{id}");
    }
    let text = heard.text();
    let killed = text
        .lines()
        .find(|line| line.contains("/tasks/exit") && line.contains(&stubborn));
    assert!(killed.expect("its exit").contains("\"exit_status\":137"), "{text}");
    assert_eq!(heard.of_sandbox(&id), ["/sandboxes/exit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_hangs_ends_with_its_sandbox() {
    let rig = Rig::new(Kind::Ours);
    let slow = rig.world.with_slow_creation();
    let [id, member] = ["s", "member"].map(|name| rig.world.id(name));
    let mut sandbox = rig.sandbox(&id, None);
    sandbox.runtime.as_mut().expect("a runtime").name = slow[1].display().to_string();
    rig.record(sandbox.clone()).await;
    let mut controller = rig.controller().await;
    controller.create(sandbox).await.expect("create");
    controller.start(&id).await.expect("start");
    let mut run = rig.world.scratch.ctr(&rig.world.socket);
    run.args(["run", "--detach"])
        .args(&slow)
        .args(["--sandbox", &id, "--rootfs"]);
    run.arg(&rig.world.root).args([&member, "/bin/sleep", "600"]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = run.spawn().expect("ctr starts");
    wait::until_true("the runtime is called", 20, || rig.world.scratch.join("began").exists());

    controller.stop(&id, 0).await.expect("stop");

    assert!(!running.wait().expect("ctr is a child").success());
    assert_eq!(rig.world.status(&member), "");
    let state = controller.status(&id).await.expect("it is there still").state;
    assert_eq!(state, "SANDBOX_NOTREADY");
    controller.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
}

/// As CRI says where the task of a container is to be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_made_at_the_address_that_a_client_knows() {
    let rig = Rig::new(Kind::Ours);
    let [id, member, stranger] = ["s", "member", "stranger"].map(|name| rig.world.id(name));
    let started = rig.started(&id, None).await;
    assert!(
        started.address.starts_with("ttrpc+unix:///") && started.version == 3,
        "{started:?}"
    );
    let (runtime, root) = (rig.runtime(), rig.world.root.to_str().expect("ASCII"));
    let create = ["containers", "create", "--runtime", &runtime, "--rootfs"];
    let command = [root, &member, "/bin/sleep", "1000"];
    rig.world
        .ctr(&[&create[..], &["--sandbox", &id], &command].concat())
        .ok();
    rig.world
        .ctr(&[&create[..], &[root, &stranger, "/bin/sleep", "1000"]].concat())
        .ok();
    let channel = channel::to(&rig.world.socket).await;
    let mut tasks = TasksClient::with_interceptor(channel, channel::in_the_namespace);
    let request = |container: &str, address: &str, version: u32| CreateTaskRequest {
        container_id: container.into(),
        task_api_address: address.into(),
        task_api_version: version,
        ..Default::default()
    };
    for (container, address) in [
        (&member, "unix:///run/s"),
        (&member, "grpc+vsock://3:1024"),
        (&stranger, started.address.as_str()),
    ] {
        let refused = tasks.create(request(container, address, 3)).await.expect_err(address);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(address), "{refused}");
    }
    let nobody = format!("ttrpc+unix://{}", rig.world.scratch.join("nobody").display());
    tasks
        .create(request(&member, &nobody, 3))
        .await
        .expect_err("nobody listens there");
    let bundles: Vec<PathBuf> = ["cstate", "croot"]
        .map(|folder| {
            rig.world
                .scratch
                .join(folder)
                .join("io.containerd.runtime.v2.task/default")
        })
        .into();
    for bundles in bundles {
        assert_eq!(fs::read_dir(bundles).into_iter().flatten().count(), 0);
    }
    tasks
        .create(request(&member, &started.address, started.version))
        .await
        .expect("create");
    let start = StartRequest {
        container_id: member.clone(),
        ..Default::default()
    };
    tasks.start(start).await.expect("start");
    assert_eq!(rig.world.status(&member), "RUNNING");
    assert_eq!(rig.shims().len(), 1);
    rig.remove(&member);
    rig.controller().await.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
}
