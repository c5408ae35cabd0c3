//! Calls that meet each other.

use std::{fs, path::Path, time::Duration};

use davit_integration_tests::{program, wait};
use davit_shim_api::{options::oci::Options, task_v3::shim::*};
use protobuf::Message;
use tokio::time;
use ttrpc::Code;

use crate::{
    code, delete_request, id,
    rig::{Rig, connect, exec_request, pid_of_listener, soon},
    start_request, wait_request,
};

/// A create request for a runtime that makes `began` before an exec, and waits for `go`.
fn with_slow_exec(rig: &Rig, id: &str) -> CreateTaskRequest {
    let [began, go, slow] = ["began", "go", "slow"].map(|name| rig.scratch.join(name));
    let runtime = rig.scratch.program("davit-runtime");
    let wait = format!("touch {began:?}; until [ -e {go:?} ]; do sleep 0.01; done");
    let case = format!("case \" $* \" in *' exec '*) {wait} ;; esac");
    program::write(
        &slow,
        &format!("#!/bin/sh\n{case}\nexec {:?} \"$@\"\n", runtime.get_program()),
    );
    let mut request = rig.create_request(id, "", "");
    let mut options = Options::parse_from_bytes(&request.options.value).expect("options");
    options.binary_name = slow.display().to_string();
    request.options.mut_or_insert_default().value = options.write_to_bytes().expect("a message");
    request
}

#[tokio::test]
async fn a_process_that_is_being_started_is_not_deleted() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "sleep 100")).await;
    client
        .create(soon(), &with_slow_exec(&rig, "c1"))
        .await
        .expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let exec = exec_request("c1", "e", "exit 4", "");
    client.exec(soon(), &exec).await.expect("exec");
    let starting = tokio::spawn({
        let client = client.clone();
        async move { client.start(soon(), &start_request("c1", "e")).await }
    });
    let began = rig.scratch.join("began");
    tokio::task::spawn_blocking(move || wait::until_true("the runtime is called", 20, || began.exists()))
        .await
        .expect("a wait");
    let refused = client.delete(soon(), &delete_request("c1", "e")).await.unwrap_err();
    assert_eq!(code(refused), Code::FAILED_PRECONDITION);
    fs::write(rig.scratch.join("go"), "").expect("the folder is ours");
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
    let old = pid_of_listener(&socket)[0];
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
