//! Calls that meet each other.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use davit_integration_tests::{program, wait};
use davit_shim_api::{
    bootstrap::bootstrap::BootstrapResult,
    options::oci::Options,
    task_v3::{shim::*, shim_ttrpc::TaskClient},
};
use protobuf::Message;
use tokio::{task::JoinHandle, time};
use ttrpc::Code;

use crate::{
    code, delete_request, id, kill_request,
    rig::{Event, NAMESPACE, Rig, connect, exec_request, pid_of_listener, soon},
    start_request, wait_request,
};

/// When a runtime waits.
enum Moment {
    Before,
    After,
}

/// A create request for a runtime that makes `began` before or after it does a command, and waits for `go`.
fn with_slow(command: &str, moment: &Moment, rig: &Rig, id: &str) -> CreateTaskRequest {
    let [began, go] = ["began", "go"].map(|name| rig.scratch.join(name));
    let runtime = rig.scratch.program("davit-runtime").get_program().to_owned();
    let wait = format!("touch {began:?}; until [ -e {go:?} ]; do sleep 0.01; done");
    let script = match moment {
        Moment::Before => format!("{wait}; exec {runtime:?} \"$@\""),
        Moment::After => format!("{runtime:?} \"$@\"; code=$?; {wait}; exit $code"),
    };
    let case = format!("case \" $* \" in *' {command} '*) {script} ;; esac");
    with_runtime(rig, id, &format!("#!/bin/sh\n{case}\nexec {runtime:?} \"$@\"\n"))
}

/// A create request for a runtime that is a script.
fn with_runtime(rig: &Rig, id: &str, script: &str) -> CreateTaskRequest {
    let path = rig.scratch.join("slow");
    program::write(&path, script);
    let mut request = rig.create_request(id, "", "");
    let mut options = Options::parse_from_bytes(&request.options.value).expect("options");
    options.binary_name = path.display().to_string();
    request.options.mut_or_insert_default().value = options.write_to_bytes().expect("a message");
    request
}

/// Waits until the slow runtime is called, or has done what it was called for.
async fn has_begun(rig: &Rig) {
    let began = rig.scratch.join("began");
    tokio::task::spawn_blocking(move || wait::until_true("the runtime is called", 20, || began.exists()))
        .await
        .expect("a wait");
}

fn go(rig: &Rig) {
    fs::write(rig.scratch.join("go"), "").expect("the folder is ours");
}

/// The call of `start`, on its way.
fn starting(client: &TaskClient, exec: &str) -> JoinHandle<ttrpc::Result<StartResponse>> {
    let (client, exec) = (client.clone(), exec.to_owned());
    tokio::spawn(async move { client.start(soon(), &start_request("c1", &exec)).await })
}

/// Waits until the file of an exit record is there.
async fn is_recorded(rig: &Rig, name: &str) {
    let record = rig.scratch.join("c1").join(name);
    tokio::task::spawn_blocking(move || wait::until_true("the exit is recorded", 20, || record.exists()))
        .await
        .expect("a wait");
}

/// What is told, with whose end it is.
fn told(rig: &Rig) -> Vec<String> {
    let events = rig.events.lock().expect("no poison");
    let word = |event: &Event| match &event.exit {
        Some((id, status)) => format!("exit of {id} {status}"),
        None => event.topic.trim_start_matches("/tasks/").to_owned(),
    };
    events.iter().map(word).collect()
}

#[tokio::test]
async fn a_container_that_ends_before_its_start_returns_is_told_to_start_first() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "exit 5")).await;
    let request = with_slow("start", &Moment::After, &rig, "c1");
    client.create(soon(), &request).await.expect("create");
    let starting = starting(&client, "");
    has_begun(&rig).await;
    is_recorded(&rig, "exit.json").await;
    rig.events_come(1).await;
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(told(&rig), ["create"], "its end waits for its start");
    go(&rig);
    starting.await.expect("a call").expect("it has run");
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        5
    );
    rig.events_come(3).await;
    assert_eq!(told(&rig), ["create", "start", "exit of c1 5"]);
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
}

#[tokio::test]
async fn a_process_that_ends_before_its_pid_is_known_is_told_to_start_first() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "sleep 100")).await;
    let request = with_slow("exec", &Moment::After, &rig, "c1");
    client.create(soon(), &request).await.expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client
        .exec(soon(), &exec_request("c1", "e", "exit 4", ""))
        .await
        .expect("exec");
    let starting = starting(&client, "e");
    has_begun(&rig).await;
    // The shim has waited for it by now, without knowing whose end it was.
    time::sleep(Duration::from_millis(200)).await;
    go(&rig);
    starting.await.expect("a call").expect("it has run");
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", "e"))
            .await
            .expect("wait")
            .exit_status,
        4
    );
    rig.events_come(5).await;
    assert_eq!(
        told(&rig),
        ["create", "start", "exec-added", "exec-started", "exit of e 4"]
    );
}

/// Without a pid namespace of its own a process can be made although the first one has ended.
#[tokio::test]
async fn the_first_process_that_ends_while_another_is_started_is_told_to_end_last() {
    for has_own_pids in [true, false] {
        let rig = Rig::new().await;
        rig.bundle("c1", "until [ -e /end ]; do sleep 0.01; done; exit 5", &[]);
        if !has_own_pids {
            rig.edit("c1", |config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
                namespaces.retain(|namespace| namespace["type"] != "pid");
            });
        }
        let client = connect(&rig.start_in_bundle("c1")).await;
        let request = with_slow("exec", &Moment::Before, &rig, "c1");
        client.create(soon(), &request).await.expect("create");
        client.start(soon(), &start_request("c1", "")).await.expect("start");
        client
            .exec(soon(), &exec_request("c1", "e", "sleep 100", ""))
            .await
            .expect("exec");
        let starting = starting(&client, "e");
        has_begun(&rig).await;
        fs::write(rig.scratch.join("rootfs/end"), "").expect("the root is ours");
        is_recorded(&rig, "exit.json").await;
        time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            told(&rig),
            ["create", "start", "exec-added"],
            "its end waits for the exec"
        );
        go(&rig);
        let started = starting.await.expect("a call").is_ok();
        assert_eq!(
            client
                .wait(soon(), &wait_request("c1", ""))
                .await
                .expect("wait")
                .exit_status,
            5
        );
        let exec: &[&str] = match started {
            true => &["exec-started", "exit of e 137"],
            false => &[],
        };
        let expected = [&["create", "start", "exec-added"], exec, &["exit of c1 5"]].concat();
        rig.events_come(expected.len()).await;
        assert_eq!(told(&rig), expected, "own pids: {has_own_pids}");
        let refused = client
            .exec(soon(), &exec_request("c1", "late", "true", ""))
            .await
            .unwrap_err();
        assert_eq!(code(refused), Code::FAILED_PRECONDITION);
        client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    }
}

/// The logging program of the exec is not ready before the first process has ended.
#[tokio::test]
async fn a_process_that_is_being_added_when_the_first_one_ends_is_refused() {
    let rig = Rig::new().await;
    let [began, go, logger] = ["began", "go", "logger"].map(|name| rig.scratch.join(name));
    let script = format!("#!/bin/sh\ntouch {began:?}\nuntil [ -e {go:?} ]; do sleep 0.01; done\nexec 5>&-\ncat <&3\n");
    program::write(&logger, &script);
    let client = rig
        .created("c1", "until [ -e /end ]; do sleep 0.01; done; exit 5", "", "")
        .await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let adding = tokio::spawn({
        let (client, request) = (
            client.clone(),
            exec_request("c1", "e", "true", &format!("binary://{}", logger.display())),
        );
        async move { client.exec(soon(), &request).await }
    });
    has_begun(&rig).await;
    fs::write(rig.scratch.join("rootfs/end"), "").expect("the root is ours");
    rig.events_come(3).await;
    fs::write(&go, "").expect("the folder is ours");
    let refused = adding.await.expect("a call").unwrap_err().to_string();
    assert!(refused.contains("cannot exec in a stopped state"), "{refused}");
    assert_eq!(told(&rig), ["create", "start", "exit of c1 5"]);
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
}

#[tokio::test]
async fn a_process_that_is_being_started_is_not_deleted() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "sleep 100")).await;
    client
        .create(soon(), &with_slow("exec", &Moment::Before, &rig, "c1"))
        .await
        .expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let exec = exec_request("c1", "e", "exit 4", "");
    client.exec(soon(), &exec).await.expect("exec");
    let starting = starting(&client, "e");
    has_begun(&rig).await;
    let refused = client.delete(soon(), &delete_request("c1", "e")).await.unwrap_err();
    assert_eq!(code(refused), Code::FAILED_PRECONDITION);
    go(&rig);
    starting.await.expect("a call").expect("start");
    let exit = client.wait(soon(), &wait_request("c1", "e")).await.expect("wait");
    assert_eq!(exit.exit_status, 4);
    client.delete(soon(), &delete_request("c1", "e")).await.expect("delete");
}

/// The logging program is not ready before the creation is given up.
#[tokio::test]
async fn a_creation_that_is_given_up_is_not_made_from_a_checkpoint_either() {
    for checkpoint in ["", "/some/image"] {
        let rig = Rig::new().await;
        let [began, go, logger] = ["began", "go", "logger"].map(|name| rig.scratch.join(name));
        let script =
            format!("#!/bin/sh\ntouch {began:?}\nuntil [ -e {go:?} ]; do sleep 0.01; done\nexec 5>&-\ncat <&3\n");
        program::write(&logger, &script);
        let address = rig.start("c1", "sleep 100");
        let client = connect(&address).await;
        let mut request = rig.create_request("c1", "", &format!("binary://{}", logger.display()));
        request.checkpoint = checkpoint.into();
        let creating = tokio::spawn({
            let client = client.clone();
            async move { client.create(soon(), &request).await }
        });
        tokio::task::spawn_blocking(move || wait::until_true("the program is called", 20, || began.exists()))
            .await
            .expect("a wait");
        let shutdown = ShutdownRequest {
            id: id("c1"),
            ..Default::default()
        };
        client.shutdown(soon(), &shutdown).await.expect("an answer");
        fs::write(&go, "").expect("the folder is ours");
        let refused = creating.await.expect("a call").unwrap_err().to_string();
        assert!(refused.contains("given up"), "{refused}");
        let socket = Path::new(address.strip_prefix("unix://").expect("a socket"));
        wait::until_true("the shim has ended", 20, || pid_of_listener(socket).is_empty());
    }
}

/// A shim that ends without a manager tries for a while to get rid of its events.
#[tokio::test]
async fn the_end_of_a_shim_leaves_the_socket_of_the_next_alone() {
    let mut rig = Rig::new().await;
    let address = rig.start("c1", "true");
    let socket = Path::new(address.strip_prefix("unix://").expect("a socket")).to_owned();
    // It may have no command line yet.
    let old = wait::until("the shim runs", 20, || pid_of_listener(&socket).first().copied());
    let client = connect(&address).await;
    client
        .create(soon(), &rig.create_request("c1", "", ""))
        .await
        .expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    rig.manager_goes().await;
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
    wait::until_true("the old socket has gone", 10, || !socket.exists());
    assert_eq!(rig.start("c1", "true"), address);
    let is_over = async {
        while Path::new("/proc").join(old.to_string()).exists() {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(Duration::from_secs(20), is_over)
        .await
        .expect("the old shim ends");
    let next = connect(&address).await;
    next.shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("the next serves there");
}

/// A pid namespace in which nobody else makes processes, with a shim for `c1`; what holds it, and the shim's address.
fn start_among_few(rig: &Rig) -> (Child, String) {
    let [parameters, reply, ready] = ["parameters", "reply", "ready"].map(|name| rig.scratch.join(name));
    fs::write(&parameters, rig.parameters("c1")).expect("the folder is ours");
    let shim = rig.scratch.program("containerd-shim-davit-v1").get_program().to_owned();
    let manager = rig.scratch.join("m.sock");
    let start = format!("{shim:?} -namespace {NAMESPACE} -id c1 -address {manager:?} -publish-binary /bin/false start");
    let script = format!("{start} <{parameters:?} >{reply:?} && touch {ready:?}; while :; do sleep 1; done");
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", &script]);
    unshare
        .current_dir(rig.scratch.join("c1"))
        .env("TTRPC_ADDRESS", rig.scratch.join("m.ttrpc"));
    let child = unshare.stdin(Stdio::null()).spawn().expect("unshare runs");
    rig.scratch.owns(&child);
    wait::until_true("the shim is started", 20, || ready.exists());
    let reply = fs::read(reply).expect("an answer");
    let result = BootstrapResult::parse_from_bytes(&reply).expect("protobuf");
    (child, result.address)
}

/// An orphan out of the container ends while a process is made, which then gets its pid.
#[tokio::test]
async fn a_process_with_the_pid_of_one_that_has_just_ended_has_an_end_of_its_own() {
    let rig = Rig::new().await;
    rig.bundle("c1", "sleep 100", &[]);
    rig.edit("c1", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let (mut few, address) = start_among_few(&rig);
    let client = connect(&address).await;
    let [began, orphan, end] = ["began", "rootfs/orphan", "rootfs/end"].map(|name| rig.scratch.join(name));
    let runtime = rig.scratch.program("davit-runtime").get_program().to_owned();
    // What the kernel gives next is the pid after the last.
    let steal = format!(
        "touch {began:?}; read pid <{orphan:?}; while [ -e /proc/$pid ]; do sleep 0.01; done; \
         echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid"
    );
    let case = format!("case \" $* \" in *'/second.process.json '*) {steal} ;; esac");
    let request = with_runtime(&rig, "c1", &format!("#!/bin/sh\n{case}\nexec {runtime:?} \"$@\"\n"));
    client.create(soon(), &request).await.expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let leave = "(until [ -e /end ]; do sleep 0.01; done; exit 9) & echo $! >/orphan";
    for (exec, script) in [("first", leave), ("second", "sleep 0.3; exit 4")] {
        client
            .exec(soon(), &exec_request("c1", exec, script, ""))
            .await
            .expect("exec");
    }
    client
        .start(soon(), &start_request("c1", "first"))
        .await
        .expect("start");
    client.wait(soon(), &wait_request("c1", "first")).await.expect("wait");
    let starting = starting(&client, "second");
    has_begun(&rig).await;
    fs::write(end, "").expect("the root is ours");
    let pid = starting.await.expect("a call").expect("start").pid;
    let before = fs::read_to_string(orphan).expect("a pid");
    assert_eq!(pid.to_string(), before.trim(), "it has the other's pid");
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", "second"))
            .await
            .expect("wait")
            .exit_status,
        4
    );
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    few.kill().expect("it runs");
    few.wait().expect("it is a child");
}
