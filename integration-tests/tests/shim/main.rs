//! The shim alone: its command line, its service and its sockets, without any manager but this test.

mod attach;
mod checkpoint;
mod client;
mod life;
mod logs;
mod races;
mod rig;
mod sandbox;
mod streams;
mod upgrade;
mod wire;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use davit_shim_api::{bootstrap::bootstrap::BootstrapResult, task_v3::shim::*};
use protobuf::Message;
use ttrpc::Code;

use self::rig::{Rig, connect, exec_request, output, pid_of_listener, soon};

fn id(id: &str) -> String {
    id.to_owned()
}

fn start_request(container: &str, exec: &str) -> StartRequest {
    StartRequest {
        id: id(container),
        exec_id: id(exec),
        ..Default::default()
    }
}

fn wait_request(container: &str, exec: &str) -> WaitRequest {
    WaitRequest {
        id: id(container),
        exec_id: id(exec),
        ..Default::default()
    }
}

fn kill_request(container: &str, signal: u32) -> KillRequest {
    KillRequest {
        id: id(container),
        signal,
        ..Default::default()
    }
}

fn delete_request(container: &str, exec: &str) -> DeleteRequest {
    DeleteRequest {
        id: id(container),
        exec_id: id(exec),
        ..Default::default()
    }
}

fn code(error: ttrpc::Error) -> Code {
    match error {
        ttrpc::Error::RpcStatus(status) => status.code(),
        other => panic!("no status: {other}"),
    }
}

#[tokio::test]
async fn start_answers_each_generation_of_managers_in_its_own_way() {
    let rig = Rig::new().await;
    for name in ["c1", "c2", "c3"] {
        rig.bundle(name, "true", &[]);
    }
    let new = rig.action("c1", "start", &rig.parameters("c1"), Some("2"));
    let result = BootstrapResult::parse_from_bytes(&new.stdout).expect("protobuf");
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    let socket = Path::new(result.address.strip_prefix("unix://").expect("a socket"));
    assert_eq!(socket.parent(), Some(rig.scratch.join("s").as_path()));
    assert_eq!(
        fs::metadata(socket).expect("it exists").permissions().mode() & 0o777,
        0o600
    );

    let options = rig.options().write_to_bytes().expect("a message");
    let json = rig.action("c2", "start", &options, Some("2"));
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    // containerd 1.7 takes no other.
    assert_eq!(value["version"], 2);
    let bare = rig.action("c3", "start", b"", None);
    let bare = String::from_utf8(bare.stdout).expect("an address");
    for address in [value["address"].as_str().expect("an address"), &bare] {
        connect(address)
            .await
            .shutdown(soon(), &ShutdownRequest::new())
            .await
            .expect("it serves and ends");
    }
}

#[tokio::test]
async fn containers_of_a_group_share_a_shim() {
    let rig = Rig::new().await;
    let group = [("io.kubernetes.cri.sandbox-id", "pod")];
    let addresses = ["g1", "g2"].map(|name| {
        rig.bundle(name, "sleep 100", &group);
        let reply = rig.action(name, "start", &rig.parameters(name), None);
        BootstrapResult::parse_from_bytes(&reply.stdout)
            .expect("protobuf")
            .address
    });
    assert_eq!(addresses[0], addresses[1]);
    let socket = Path::new(addresses[0].strip_prefix("unix://").expect("a socket"));
    assert_eq!(pid_of_listener(socket).len(), 1);
    let client = connect(&addresses[0]).await;
    for name in ["g1", "g2"] {
        client
            .create(soon(), &rig.create_request(name, "", ""))
            .await
            .expect("create");
        client.start(soon(), &start_request(name, "")).await.expect("start");
    }
    client.kill(soon(), &kill_request("g1", 9)).await.expect("kill");
    assert_eq!(
        client
            .wait(soon(), &wait_request("g1", ""))
            .await
            .expect("wait")
            .exit_status,
        137
    );
    client.delete(soon(), &delete_request("g1", "")).await.expect("delete");
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("an answer");
    let state = StateRequest {
        id: id("g2"),
        ..Default::default()
    };
    assert!(
        client.state(soon(), &state).await.is_ok(),
        "the other container keeps the shim alive"
    );
}

#[tokio::test]
async fn delete_cleans_up_after_a_dead_shim_and_answers_with_the_recorded_exit() {
    let rig = Rig::new().await;
    for (name, script, expected) in [("ended", "exit 6", 6), ("running", "sleep 1000", 137)] {
        let address = rig.start(name, script);
        let client = connect(&address).await;
        let mut create = rig.create_request(name, "", "");
        create.rootfs = vec![davit_shim_api::task_v3::mount::Mount {
            type_: "bind".into(),
            source: rig.scratch.join("rootfs").display().to_string(),
            options: vec!["rbind".into(), "rw".into()],
            ..Default::default()
        }];
        let pid = client.create(soon(), &create).await.expect("create").pid;
        client.start(soon(), &start_request(name, "")).await.expect("start");
        if expected == 6 {
            client.wait(soon(), &wait_request(name, "")).await.expect("wait");
        }
        let shim = pid_of_listener(Path::new(address.strip_prefix("unix://").expect("a socket")));
        let killed = std::process::Command::new("kill")
            .arg("-9")
            .arg(shim[0].to_string())
            .status();
        assert!(killed.expect("kill runs").success());
        let reply = rig.action(name, "delete", b"", None);
        assert!(reply.status.success(), "{}", String::from_utf8_lossy(&reply.stderr));
        let reply = DeleteResponse::parse_from_bytes(&reply.stdout).expect("a DeleteResponse");
        assert_eq!((reply.exit_status, reply.pid), (expected, pid));
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(
            !mounts.contains(&format!("{}/rootfs", rig.scratch.join(name).display())),
            "it is unmounted"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_name_and_leaves_the_shim_well() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "sleep 100")).await;
    let mut malformed = rig.create_request("../x", "", "");
    assert_eq!(
        code(client.create(soon(), &malformed).await.unwrap_err()),
        Code::INVALID_ARGUMENT
    );
    for (stdin, output) in [
        ("", "ftp://x"),
        ("attach:", ""),
        ("file:///x", ""),
        ("", "json-file:///x"),
        ("relative", ""),
    ] {
        malformed = rig.create_request("c1", stdin, output);
        let refused = client.create(soon(), &malformed).await.unwrap_err();
        assert_eq!(code(refused), Code::INVALID_ARGUMENT, "{stdin} {output}");
    }
    let mut restore = rig.create_request("c1", "", "");
    restore.parent_checkpoint = "/x".into();
    assert_eq!(
        code(client.create(soon(), &restore).await.unwrap_err()),
        Code::UNIMPLEMENTED
    );
    for request in [start_request("c1", ""), start_request("nobody", "")] {
        assert_eq!(code(client.start(soon(), &request).await.unwrap_err()), Code::NOT_FOUND);
    }
    client
        .create(soon(), &rig.create_request("c1", "", ""))
        .await
        .expect("after all that");
    let again = client
        .create(soon(), &rig.create_request("c1", "", ""))
        .await
        .unwrap_err();
    assert_eq!(code(again), Code::ALREADY_EXISTS);
    let no_exec = client.start(soon(), &start_request("c1", "e")).await.unwrap_err();
    assert_eq!(code(no_exec), Code::NOT_FOUND);
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    assert_eq!(
        code(client.delete(soon(), &delete_request("c1", "")).await.unwrap_err()),
        Code::FAILED_PRECONDITION
    );
    let mut odd = exec_request("c1", "e", "true", "");
    odd.spec.mut_or_insert_default().value = b"[]".to_vec();
    assert_eq!(
        code(client.exec(soon(), &odd).await.unwrap_err()),
        Code::INVALID_ARGUMENT
    );
    client
        .exec(soon(), &exec_request("c1", "missing", "x", ""))
        .await
        .expect("exec");
    client
        .delete(soon(), &delete_request("c1", "missing"))
        .await
        .expect("an exec that never ran");
}

#[test]
fn a_command_line_that_is_wrong_ends_with_an_error_that_names_it() {
    let scratch = davit_integration_tests::Scratch::new();
    for (arguments, named) in [
        (vec!["-x"], "-x"),
        (vec!["-id", "a", "-namespace", "b", "stop"], "stop"),
        (vec!["-id", "../a", "-namespace", "b", "start"], "../a"),
        (vec![], "no action"),
    ] {
        let mut command = scratch.program("containerd-shim-davit-v1");
        command.args(&arguments).current_dir(scratch.path());
        let ended = output(command, b"");
        assert!(!ended.status.success() && ended.stdout.is_empty());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(said.contains(named), "{said}");
    }
    let mut version = scratch.program("containerd-shim-davit-v1");
    version.arg("-v");
    assert!(String::from_utf8_lossy(&output(version, b"").stdout).contains("io.containerd.davit.v1"));
}
