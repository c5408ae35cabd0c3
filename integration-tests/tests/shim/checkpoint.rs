//! Containers that are written down and restored, with a real criu.

use std::{fs, path::Path};

use davit_integration_tests::{criu, wait};
use davit_shim_api::{
    options::oci::CheckpointOptions,
    task_v3::{shim::*, shim_ttrpc::TaskClient, task::Status},
};
use davit_stdio::Frame;
use protobuf::{Message, well_known_types::any::Any};
use ttrpc::Code;

use crate::{
    client::Attached,
    code, delete_request, id, kill_request,
    rig::{Rig, connect, exec_request, soon},
    start_request, wait_request,
};

/// Counts in a file of the root that all containers of a rig share.
const COUNTER: &str = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.02; done";

/// A rig whose shims find criu.
async fn rig() -> Option<Rig> {
    let mut rig = Rig::new().await;
    rig.search_path = Some(criu::search_path(&rig.scratch.join("programs"))?);
    Some(rig)
}

/// A shim for a bundle. In a network namespace of its own criu would want a firewall's program.
async fn shim(rig: &Rig, id: &str, script: &str) -> TaskClient {
    rig.bundle(id, script, &[]);
    rig.edit(id, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    let reply = rig.action(id, "start", b"", None);
    connect(&String::from_utf8(reply.stdout).expect("an address")).await
}

async fn running(rig: &Rig, id: &str, script: &str) -> TaskClient {
    let client = shim(rig, id, script).await;
    client
        .create(soon(), &rig.create_request(id, "", ""))
        .await
        .expect("create");
    client.start(soon(), &start_request(id, "")).await.expect("start");
    client
}

fn checkpoint_request(rig: &Rig, id: &str, options: &CheckpointOptions) -> CheckpointTaskRequest {
    let options = Any {
        type_url: "containerd.runc.v1.CheckpointOptions".into(),
        value: options.write_to_bytes().expect("a message"),
        ..Default::default()
    };
    CheckpointTaskRequest {
        id: id.into(),
        path: images(rig),
        options: Some(options).into(),
        ..Default::default()
    }
}

fn restore_request(rig: &Rig, id: &str) -> CreateTaskRequest {
    CreateTaskRequest {
        checkpoint: images(rig),
        ..rig.create_request(id, "", "")
    }
}

fn images(rig: &Rig) -> String {
    rig.scratch.join("images").display().to_string()
}

fn count(rig: &Rig) -> u64 {
    let text = fs::read_to_string(rig.scratch.join("rootfs/count")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn counts_on(rig: &Rig) {
    let before = count(rig);
    wait::until_true("it counts on", 30, || count(rig) > before);
}

async fn status(client: &TaskClient, name: &str) -> (Status, u32) {
    let request = StateRequest {
        id: id(name),
        ..Default::default()
    };
    let state = client.state(soon(), &request).await.expect("state");
    (state.status.enum_value().expect("a known status"), state.pid)
}

async fn is_deleted(client: &TaskClient, id: &str, status: u32) {
    let deleted = client.delete(soon(), &delete_request(id, "")).await.expect("delete");
    assert_eq!(deleted.exit_status, status);
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
}

#[tokio::test]
async fn a_container_that_a_checkpoint_has_ended_counts_on_in_another_one() {
    let Some(rig) = rig().await else { return };
    let client = running(&rig, "c1", COUNTER).await;
    counts_on(&rig);
    let work = rig.scratch.join("work");
    let options = CheckpointOptions {
        exit: true,
        work_path: work.display().to_string(),
        ..Default::default()
    };
    let request = checkpoint_request(&rig, "c1", &options);
    client.checkpoint(soon(), &request).await.expect("checkpoint");
    let exit = client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert_eq!(exit.exit_status, 137);
    is_deleted(&client, "c1", 137).await;
    assert!(work.join("dump.log").exists());
    assert!(rig.scratch.join("images/inventory.img").exists());
    rig.events_come(5).await;
    let told = [
        "/tasks/create",
        "/tasks/start",
        "/tasks/checkpointed",
        "/tasks/exit",
        "/tasks/delete",
    ];
    assert_eq!(rig.topics(), told);

    let at = count(&rig);
    let client = shim(&rig, "c2", "this is not what runs").await;
    let created = client.create(soon(), &restore_request(&rig, "c2")).await;
    assert_eq!(created.expect("create").pid, 0);
    assert_eq!(status(&client, "c2").await, (Status::CREATED, 0));
    let pid = client.start(soon(), &start_request("c2", "")).await.expect("start").pid;
    assert_eq!(status(&client, "c2").await, (Status::RUNNING, pid));
    wait::until_true("it counts on", 30, || count(&rig) > at);
    let mut exec = exec_request("c2", "e", "exit 5", "");
    exec.terminal = false;
    client.exec(soon(), &exec).await.expect("exec");
    client.start(soon(), &start_request("c2", "e")).await.expect("start");
    let exit = client.wait(soon(), &wait_request("c2", "e")).await.expect("wait");
    assert_eq!(exit.exit_status, 5);
    let stats = StatsRequest {
        id: id("c2"),
        ..Default::default()
    };
    client.stats(soon(), &stats).await.expect("a cgroup of its own");
    client.kill(soon(), &kill_request("c2", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c2", "")).await.expect("wait");
    is_deleted(&client, "c2", 137).await;
}

#[tokio::test]
async fn a_container_is_after_a_checkpoint_what_it_was_before() {
    let Some(rig) = rig().await else { return };
    let client = running(&rig, "c1", COUNTER).await;
    counts_on(&rig);
    let request = checkpoint_request(&rig, "c1", &CheckpointOptions::default());
    client.checkpoint(soon(), &request).await.expect("checkpoint");
    assert_eq!(status(&client, "c1").await.0, Status::RUNNING);
    counts_on(&rig);
    let pause = PauseRequest {
        id: id("c1"),
        ..Default::default()
    };
    client.pause(soon(), &pause).await.expect("pause");
    client.checkpoint(soon(), &request).await.expect("checkpoint");
    assert_eq!(status(&client, "c1").await.0, Status::PAUSED);
    let resume = ResumeRequest {
        id: id("c1"),
        ..Default::default()
    };
    client.resume(soon(), &resume).await.expect("resume");
    counts_on(&rig);
    // criu's log is left where a checkpoint fails, and nothing of it where it does not.
    assert!(!rig.scratch.join("c1/work/criu-work").exists());
    assert!(!rig.scratch.join("c1/criu-dump.log").exists());
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    let refused = client.checkpoint(soon(), &request).await.unwrap_err();
    assert!(refused.to_string().contains("a container that is stopped"), "{refused}");
    is_deleted(&client, "c1", 137).await;
}

#[tokio::test]
async fn a_checkpoint_that_fails_lets_the_container_run_and_says_where_criu_says_why() {
    let Some(rig) = rig().await else { return };
    // criu gives a file whose name is gone another one only if it is allowed to.
    let script = format!("echo > /one; ln /one /other; exec 9< /one; rm /one; {COUNTER}");
    let client = running(&rig, "c1", &script).await;
    counts_on(&rig);
    let options = CheckpointOptions {
        exit: true,
        ..Default::default()
    };
    let request = checkpoint_request(&rig, "c1", &options);
    let refused = client.checkpoint(soon(), &request).await.unwrap_err().to_string();
    let log = rig.scratch.join("c1/criu-dump.log");
    assert!(refused.contains(&format!("see {}", log.display())), "{refused}");
    assert!(fs::read_to_string(log).expect("a log").contains("Error"));
    assert!(!rig.scratch.join("c1/work/criu-work").exists());
    counts_on(&rig);
    assert!(!rig.topics().contains(&"/tasks/checkpointed".into()));
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    is_deleted(&client, "c1", 137).await;
}

#[tokio::test]
async fn a_terminal_is_restored_with_the_streams_of_the_new_container() {
    let Some(rig) = rig().await else { return };
    let sockets = ["a1", "a2"].map(|name| rig.scratch.join(name));
    let with_terminal = |id: &str, socket: &Path| {
        let uri = format!("none://?attach={}", socket.display());
        let mut request = rig.create_request(id, "attach:", &uri);
        (request.terminal, request.stderr) = (true, String::new());
        rig.edit(id, |config| config["process"]["terminal"] = true.into());
        request
    };
    let script = "echo ready; read line; echo got $line";
    let client = shim(&rig, "c1", script).await;
    let request = with_terminal("c1", &sockets[0]);
    client.create(soon(), &request).await.expect("create");
    let mut attached = Attached::open(&sockets[0], Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    assert_eq!(attached.output().await.expect("it is ready"), b"ready\r\n");
    let options = CheckpointOptions {
        exit: true,
        ..Default::default()
    };
    let request = checkpoint_request(&rig, "c1", &options);
    client.checkpoint(soon(), &request).await.expect("checkpoint");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    is_deleted(&client, "c1", 137).await;

    let client = shim(&rig, "c2", script).await;
    let mut request = with_terminal("c2", &sockets[1]);
    request.checkpoint = images(&rig);
    client.create(soon(), &request).await.expect("create");
    let mut attached = Attached::open(&sockets[1], Some(0)).await;
    client.start(soon(), &start_request("c2", "")).await.expect("start");
    let input = Frame::Stdin {
        offset: Some(0),
        data: b"hello\n".to_vec(),
    };
    attached.send(&input).await;
    let output = String::from_utf8(attached.rest().await).expect("text");
    assert_eq!(output, "hello\r\ngot hello\r\n");
    is_deleted(&client, "c2", 0).await;
}

#[tokio::test]
async fn a_container_that_is_not_restored_can_only_be_deleted() {
    let Some(rig) = rig().await else { return };
    fs::create_dir(images(&rig)).expect("the scratch is ours");
    let client = shim(&rig, "c1", "true").await;
    client
        .create(soon(), &restore_request(&rig, "c1"))
        .await
        .expect("create");
    for _ in 0..2 {
        let exec = exec_request("c1", "e", "true", "");
        assert_eq!(
            code(client.exec(soon(), &exec).await.unwrap_err()),
            Code::FAILED_PRECONDITION
        );
        assert_eq!(
            code(client.kill(soon(), &kill_request("c1", 9)).await.unwrap_err()),
            Code::NOT_FOUND
        );
        let request = checkpoint_request(&rig, "c1", &CheckpointOptions::default());
        assert_eq!(
            code(client.checkpoint(soon(), &request).await.unwrap_err()),
            Code::FAILED_PRECONDITION
        );
        // The folder holds no image.
        assert!(client.start(soon(), &start_request("c1", "")).await.is_err());
        assert_eq!(status(&client, "c1").await, (Status::CREATED, 0));
    }
    assert!(fs::read_dir(rig.scratch.join("runc/ns")).map_or(true, |mut left| left.next().is_none()));
    is_deleted(&client, "c1", 0).await;
    rig.events_come(2).await;
    assert_eq!(rig.topics(), ["/tasks/create", "/tasks/delete"]);
}
