//! Sandboxes, where no suite for all shims can ask: without a configuration, with signals, after a death.

use std::{fs, path::PathBuf, time::Duration};

use davit_integration_tests::wait;
use davit_shim_api::{
    sandbox::{sandbox::*, sandbox_ttrpc::SandboxClient},
    task_v3::shim::{DeleteResponse, ShutdownRequest},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protobuf::Message;
use ttrpc::asynchronous::Client;

use super::{
    delete_request, kill_request,
    rig::{NAMESPACE, Rig, connect, pid_of_listener, soon},
    start_request, wait_request,
};

/// A sandbox as a manager that reads JSON makes it, without a configuration; its bundle, the socket of its shim, and a client.
pub async fn created(rig: &Rig) -> (PathBuf, PathBuf, SandboxClient) {
    let bundle = rig
        .scratch
        .join("io.containerd.sandbox.controller.v1.shim")
        .join(NAMESPACE)
        .join("s");
    fs::create_dir_all(bundle.join("rootfs")).expect("a folder");
    let reply = rig.action_in(&bundle, "s", "start", b"", Some("2"));
    assert!(reply.status.success(), "{}", String::from_utf8_lossy(&reply.stderr));
    let reply: serde_json::Value = serde_json::from_slice(&reply.stdout).expect("JSON");
    assert_eq!(reply["version"], 3);
    let address = reply["address"].as_str().expect("an address");
    let client = SandboxClient::new(Client::connect(address).await.expect("a shim that serves"));
    let request = CreateSandboxRequest {
        sandbox_id: "s".into(),
        bundle_path: bundle.display().to_string(),
        ..Default::default()
    };
    client.create_sandbox(soon(), &request).await.expect("create");
    let socket = address.strip_prefix("unix://").expect("a socket");
    (bundle, socket.into(), client)
}

pub fn start() -> StartSandboxRequest {
    StartSandboxRequest {
        sandbox_id: "s".into(),
        ..Default::default()
    }
}

pub fn stop() -> StopSandboxRequest {
    StopSandboxRequest {
        sandbox_id: "s".into(),
        ..Default::default()
    }
}

pub fn wait() -> WaitSandboxRequest {
    WaitSandboxRequest {
        sandbox_id: "s".into(),
        ..Default::default()
    }
}

pub fn status() -> SandboxStatusRequest {
    SandboxStatusRequest {
        sandbox_id: "s".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_signal_to_end_is_heeded_when_the_sandbox_has_ended() {
    let rig = Rig::new().await;
    let (_, socket, client) = created(&rig).await;
    client.start_sandbox(soon(), &start()).await.expect("start");
    let shim = Pid::from_raw(pid_of_listener(&socket)[0] as i32);
    kill(shim, Signal::SIGTERM).expect("it runs");
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.stop_sandbox(soon(), &stop()).await.expect("it is there still");
    kill(shim, Signal::SIGTERM).expect("it runs");
    wait::until_true("the shim has ended", 10, || !socket.exists());
}

#[tokio::test]
async fn the_end_of_a_sandbox_outlives_its_shim() {
    let rig = Rig::new().await;
    let (bundle, socket, client) = created(&rig).await;
    client.start_sandbox(soon(), &start()).await.expect("start");
    client.stop_sandbox(soon(), &stop()).await.expect("stop");
    let request = WaitSandboxRequest {
        sandbox_id: "s".into(),
        ..Default::default()
    };
    let told = client.wait_sandbox(soon(), &request).await.expect("wait");
    kill(Pid::from_raw(pid_of_listener(&socket)[0] as i32), Signal::SIGKILL).expect("it runs");
    let reply = rig.action_in(&bundle, "s", "delete", b"", None);
    let deleted = DeleteResponse::parse_from_bytes(&reply.stdout).expect("a DeleteResponse");
    assert_eq!((deleted.exit_status, deleted.pid), (0, 0));
    assert_eq!(deleted.exited_at, told.exited_at);
    assert!(!socket.exists());
}

/// A manager that takes the others for part of a sandbox asks for the end but once.
#[tokio::test]
async fn a_shim_that_was_asked_to_end_by_its_first_container_ends_with_its_last() {
    let rig = Rig::new().await;
    let address = rig.start("first", "sleep 1000");
    rig.bundle("last", "sleep 1000", &[]);
    let client = connect(&address).await;
    for id in ["first", "last"] {
        client
            .create(soon(), &rig.create_request(id, "", ""))
            .await
            .expect("create");
        client.start(soon(), &start_request(id, "")).await.expect("start");
    }
    let end = async |id: &str| {
        client.kill(soon(), &kill_request(id, 9)).await.expect("kill");
        client.wait(soon(), &wait_request(id, "")).await.expect("wait");
        client.delete(soon(), &delete_request(id, "")).await.expect("delete");
    };
    end("first").await;
    let request = ShutdownRequest {
        id: "first".into(),
        ..Default::default()
    };
    client.shutdown(soon(), &request).await.expect("an answer");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let socket = PathBuf::from(address.strip_prefix("unix://").expect("a socket"));
    assert!(socket.exists());
    end("last").await;
    wait::until_true("the shim has ended", 10, || !socket.exists());
}
