//! The shim alone: its command line, its service and its sockets, without any manager but this test.

mod client;
mod rig;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use davit_shim_api::{
    bootstrap::bootstrap::BootstrapResult,
    task_v2::{shim as v2, shim_ttrpc::TaskClient as ClientV2},
    task_v3::shim::*,
};
use davit_stdio::Frame;
use protobuf::Message;
use tokio::time;
use ttrpc::{Code, asynchronous::Client};

use self::{
    client::Attached,
    rig::{Rig, connect, exec_request, output, pid_of_listener, soon},
};

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

fn log_uri(folder: &Path) -> String {
    format!(
        "json-file://{}?attach={}",
        folder.join("x-json.log").display(),
        folder.join("a").display()
    )
}

/// The `log` fields of a json-file, joined.
fn logged(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a log");
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a record"))
        .map(|record| record["log"].as_str().expect("a text").to_owned())
        .collect()
}

#[tokio::test]
async fn start_answers_each_generation_of_managers_in_its_own_way() {
    let rig = Rig::new().await;
    for name in ["c1", "c2", "c3"] {
        rig.bundle(name, "true", &[]);
    }
    let new = rig.action("c1", "start", &rig.parameters("c1"), Some("2"));
    let result = BootstrapResult::parse_from_bytes(&new.stdout).expect("protobuf");
    assert_eq!((result.version, result.protocol.as_str()), (2, "ttrpc"));
    let socket = Path::new(result.address.strip_prefix("unix://").expect("a socket"));
    assert_eq!(socket.parent(), Some(rig.scratch.join("s").as_path()));
    assert_eq!(
        fs::metadata(socket).expect("it exists").permissions().mode() & 0o777,
        0o600
    );

    let options = rig.options().write_to_bytes().expect("a message");
    let json = rig.action("c2", "start", &options, Some("2"));
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
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
async fn a_life_is_told_in_order_and_recorded_before_it_is_told() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "read x; exit 7", "", "").await;
    let pid = client.start(soon(), &start_request("c1", "")).await.expect("start").pid;
    let exit = client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert_eq!(exit.exit_status, 7);
    let record = fs::read(rig.scratch.join("c1/exit.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    assert_eq!((&record["pid"], &record["exit_status"]), (&pid.into(), &7.into()));
    let state = client
        .state(
            soon(),
            &StateRequest {
                id: id("c1"),
                ..Default::default()
            },
        )
        .await
        .expect("state");
    assert_eq!((state.pid, state.exit_status, state.status.value()), (pid, 7, 3));
    assert_eq!(
        code(client.kill(soon(), &kill_request("c1", 9)).await.unwrap_err()),
        Code::NOT_FOUND
    );
    assert_eq!(
        client
            .delete(soon(), &delete_request("c1", ""))
            .await
            .expect("delete")
            .exit_status,
        7
    );
    rig.events_come(4).await;
    assert_eq!(
        rig.topics(),
        ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    );
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
}

#[tokio::test]
async fn both_generations_of_the_task_service_are_one() {
    let rig = Rig::new().await;
    let address = rig.start("c1", "exit 5");
    let old = ClientV2::new(Client::connect(&address).await.expect("a shim"));
    let create = rig.create_request("c1", "", "").write_to_bytes().expect("a message");
    let create = v2::CreateTaskRequest::parse_from_bytes(&create).expect("the same message");
    old.create(soon(), &create).await.expect("create through v2");
    connect(&address)
        .await
        .start(soon(), &start_request("c1", ""))
        .await
        .expect("start through v3");
    let wait = v2::WaitRequest {
        id: id("c1"),
        ..Default::default()
    };
    assert_eq!(old.wait(soon(), &wait).await.expect("wait through v2").exit_status, 5);
}

#[tokio::test]
async fn events_wait_for_a_manager_that_is_away() {
    let mut rig = Rig::new().await;
    let client = rig.created("c1", "sleep 0.5; exit 9", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    rig.events_come(2).await;
    rig.manager_goes().await;
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        9
    );
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.topics().len(), 2);
    rig.manager_comes().await;
    rig.events_come(4).await;
    assert_eq!(rig.topics()[2..], ["/tasks/exit", "/tasks/delete"]);
    assert_eq!(rig.exits(), [(id("c1"), 9)]);
}

#[tokio::test]
async fn the_exit_of_init_is_the_last() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    for number in 0..10 {
        let exec = format!("e{number}");
        client
            .exec(soon(), &exec_request("c1", &exec, "sleep 100", ""))
            .await
            .expect("exec");
        client.start(soon(), &start_request("c1", &exec)).await.expect("start");
    }
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    rig.events_come(2 + 20 + 11).await;
    let exits = rig.exits();
    assert_eq!(exits.len(), 11);
    assert!(exits.iter().all(|(_, status)| *status == 137));
    assert_eq!(exits.last().expect("11 exits").0, "c1");
    client
        .exec(soon(), &exec_request("c1", "late", "true", ""))
        .await
        .expect("it may be described");
    let late = client.start(soon(), &start_request("c1", "late")).await.unwrap_err();
    assert_eq!(code(late), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn many_execs_at_once_end_each_with_its_own_output_and_code() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let runs = (0..40).map(|number| {
        let (client, socket) = (client.clone(), rig.scratch.join(&format!("a{number}")));
        tokio::spawn(async move {
            let (exec, uri) = (format!("e{number}"), format!("none://?attach={}", socket.display()));
            let script = format!("echo out-{number}; exit {number}");
            client
                .exec(soon(), &exec_request("c1", &exec, &script, &uri))
                .await
                .expect("exec");
            let mut attached = Attached::open(&socket, Some(0)).await;
            client.start(soon(), &start_request("c1", &exec)).await.expect("start");
            let output = attached.rest().await;
            let exit = client.wait(soon(), &wait_request("c1", &exec)).await.expect("wait");
            client
                .delete(soon(), &delete_request("c1", &exec))
                .await
                .expect("delete");
            assert_eq!(String::from_utf8_lossy(&output), format!("out-{number}\n"));
            assert_eq!(exit.exit_status, number);
            assert!(!socket.exists());
        })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.expect("an exec");
    }
}

#[tokio::test]
async fn output_is_exact_in_the_log_and_for_a_client_that_comes_and_goes() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let script = "i=0; while [ $i -lt 60000 ]; do echo line-$i; i=$((i+1)); done; printf tail";
    let client = rig.created("c1", script, "", &log_uri(folder)).await;
    let mut attached = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let mut seen = Vec::new();
    while let Some(bytes) = attached.output().await {
        seen.extend(bytes);
        // It breaks off, perhaps with more on the way, and resumes at what it has.
        let at = attached.at;
        drop(attached);
        attached = Attached::open(&folder.join("a"), Some(at)).await;
        assert_eq!(attached.at, at);
    }
    let expected: String = (0..60000)
        .map(|number| format!("line-{number}\n"))
        .chain(["tail".into()])
        .collect();
    assert!(
        seen == expected.as_bytes(),
        "{} bytes instead of {}",
        seen.len(),
        expected.len()
    );
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert!(
        logged(&folder.join("x-json.log")) == expected,
        "the log is complete when the exit is told"
    );
    let mut late = Attached::open(&folder.join("a"), Some(expected.len() as u64 - 4)).await;
    assert_eq!(late.rest().await, b"tail");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    assert!(!folder.join("a").exists());
}

#[tokio::test]
async fn input_comes_back_exactly_however_much_there_is() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let uri = format!("none://?attach={}", folder.join("a").display());
    let client = rig.created("c1", "cat", "attach:", &uri).await;
    let mut attached = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let input: Vec<u8> = (0..3_000_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut sent, mut taken, mut seen) = (0, 0, Vec::new());
    while seen.len() < input.len() {
        while sent < input.len() && sent - taken + 32_000 <= davit_stdio::INPUT_WINDOW {
            let piece = &input[sent..(sent + 32_000).min(input.len())];
            // Half of it a second time, as after a broken connection.
            attached
                .send(&Frame::Stdin {
                    offset: Some(sent as u64),
                    data: piece.into(),
                })
                .await;
            attached
                .send(&Frame::Stdin {
                    offset: Some(sent as u64),
                    data: piece[..piece.len() / 2].into(),
                })
                .await;
            sent += piece.len();
        }
        match attached.next().await.expect("more") {
            Frame::StdinTaken { offset } => taken = offset as usize,
            Frame::Output { data, offset, .. } => {
                seen.extend_from_slice(&data);
                attached.at = offset + data.len() as u64;
                attached.send(&Frame::OutputTaken { offset: attached.at }).await;
            }
            other => panic!("{other:?}"),
        }
    }
    attached.send(&Frame::StdinClose).await;
    assert!(attached.rest().await.is_empty());
    assert!(seen == input);
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        0
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_the_writer_and_one_that_goes_frees_it() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path();
    let script = "head -c 8000000 /dev/zero; exit 4";
    let client = rig
        .created(
            "c1",
            script,
            "",
            &format!("none://?attach={}", folder.join("a").display()),
        )
        .await;
    let lazy = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let request = wait_request("c1", "");
    let held = time::timeout(Duration::from_secs(1), client.wait(soon(), &request)).await;
    assert!(held.is_err(), "the writer goes on without its reader");
    drop(lazy);
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        4
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
    restore.checkpoint = "/x".into();
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
