//! Terminals, logging programs and files.

use std::fs;

use davit_integration_tests::program;
use davit_shim_api::task_v3::shim::*;
use davit_stdio::Frame;

use crate::{
    client::Attached,
    delete_request,
    rig::{Rig, connect, exec_request, soon},
    start_request, wait_request,
};

#[tokio::test]
async fn a_terminal_echoes_and_follows_the_size_of_its_client() {
    let rig = Rig::new().await;
    let socket = rig.scratch.join("a");
    rig.bundle("c1", "read line; stty size; echo got $line", &[]);
    rig.edit("c1", |config| config["process"]["terminal"] = true.into());
    let reply = rig.action("c1", "start", b"", None);
    let client = connect(&String::from_utf8(reply.stdout).expect("an address")).await;
    let mut request = rig.create_request("c1", "attach:", &format!("none://?attach={}", socket.display()));
    (request.terminal, request.stderr) = (true, String::new());
    client.create(soon(), &request).await.expect("create");
    let mut attached = Attached::open(&socket, Some(0)).await;
    attached.send(&Frame::Resize { rows: 33, columns: 77 }).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let input = Frame::Stdin {
        offset: Some(0),
        data: b"hello\n".to_vec(),
    };
    attached.send(&input).await;
    let output = String::from_utf8(attached.rest().await).expect("text");
    assert_eq!(output, "hello\r\n33 77\r\ngot hello\r\n");
    assert_eq!(
        client
            .wait(soon(), &wait_request("c1", ""))
            .await
            .expect("wait")
            .exit_status,
        0
    );
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
}

#[tokio::test]
async fn a_terminal_of_an_exec_can_be_resized_by_call() {
    let rig = Rig::new().await;
    let socket = rig.scratch.join("a");
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let uri = format!("none://?attach={}", socket.display());
    let mut request = exec_request("c1", "e", "read line; stty size", &uri);
    (request.terminal, request.stdin, request.stderr) = (true, "attach:".into(), String::new());
    client.exec(soon(), &request).await.expect("exec");
    client.start(soon(), &start_request("c1", "e")).await.expect("start");
    let resize = ResizePtyRequest {
        id: "c1".into(),
        exec_id: "e".into(),
        width: 101,
        height: 42,
        ..Default::default()
    };
    client.resize_pty(soon(), &resize).await.expect("resize");
    let mut attached = Attached::open(&socket, Some(0)).await;
    attached
        .send(&Frame::Stdin {
            offset: None,
            data: b"\n".to_vec(),
        })
        .await;
    assert_eq!(attached.rest().await, b"\r\n42 101\r\n");
}

#[tokio::test]
async fn a_logging_program_gets_both_streams_and_ends_with_its_container() {
    let rig = Rig::new().await;
    let (program, out) = (rig.scratch.join("logger"), rig.scratch.join("out"));
    let script = format!(
        "#!/bin/sh\necho $1=$2 $CONTAINER_ID $CONTAINER_NAMESPACE > {0}\nexec 5>&-\n\
         (while read line; do echo out:$line >> {0}; done) <&3 &\n\
         while read line; do echo err:$line >> {0}; done <&4\nwait\n",
        out.display()
    );
    program::write(&program, &script);
    let uri = format!("binary://{}?key=value", program.display());
    let client = rig.created("c1", "echo one; sleep 0.2; echo two >&2", "", &uri).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    davit_integration_tests::wait::until_true("the program has written all", 10, || {
        fs::read_to_string(&out).unwrap_or_default() == "key=value c1 ns\nout:one\nerr:two\n"
    });
    let missing = rig.create_request("c2", "", "binary:///no/such/program");
    rig.bundle("c2", "true", &[]);
    let refused = client.create(soon(), &missing).await.unwrap_err().to_string();
    assert!(refused.contains("/no/such/program"), "{refused}");
}

#[tokio::test]
async fn a_logging_program_of_the_second_kind_must_say_that_it_is_ready() {
    let rig = Rig::new().await;
    let out = rig.scratch.join("out");
    for (id, ready) in [("c1", "echo >&5; exec 5>&-"), ("c2", "exec 5>&-")] {
        let program = rig.scratch.join(&format!("logger-{id}"));
        program::write(&program, &format!("#!/bin/sh\n{ready}\ncat <&3 >> {}\n", out.display()));
        let uri = format!("binary-v2://{}", program.display());
        let client = connect(&rig.start(id, "echo here")).await;
        let created = client.create(soon(), &rig.create_request(id, "", &uri)).await;
        if id == "c2" {
            let refused = created.expect_err("it is not ready").to_string();
            assert!(refused.contains("logger-c2"), "{refused}");
            continue;
        }
        created.expect("create");
        client.start(soon(), &start_request(id, "")).await.expect("start");
        client.wait(soon(), &wait_request(id, "")).await.expect("wait");
        davit_integration_tests::wait::until_true("the output is logged", 10, || {
            fs::read_to_string(&out).is_ok_and(|text| text == "here\n")
        });
    }
}

#[tokio::test]
async fn a_file_gets_both_streams_behind_what_it_had_and_its_folder_is_made() {
    let rig = Rig::new().await;
    let file = rig.scratch.join("new/folder/file");
    let uri = format!("file://{}", file.display());
    let client = rig.created("c0", "echo old", "", &uri).await;
    client.start(soon(), &start_request("c0", "")).await.expect("start");
    client.wait(soon(), &wait_request("c0", "")).await.expect("wait");
    let client = rig.created("c1", "echo one; sleep 0.1; echo two >&2", "", &uri).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert_eq!(fs::read_to_string(&file).expect("a file"), "old\none\ntwo\n");
}
