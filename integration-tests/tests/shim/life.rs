//! Containers and execs from creation to deletion, and the order in which that is told.

use std::{fs, path::Path, time::Duration};

use davit_shim_api::{
    bootstrap::bootstrap::BootstrapResult,
    task_v2::{shim as v2, shim_ttrpc::TaskClient as ClientV2},
    task_v3::shim::*,
};
use protobuf::Message;
use tokio::time;
use ttrpc::{Code, asynchronous::Client};

use crate::{
    client::Attached,
    code, delete_request, id, kill_request,
    rig::{Rig, connect, exec_request, soon},
    start_request, wait_request,
};

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
    let late = client.exec(soon(), &exec_request("c1", "late", "true", "")).await;
    assert_eq!(code(late.unwrap_err()), Code::FAILED_PRECONDITION);
}

#[tokio::test]
async fn without_a_pid_namespace_the_end_of_init_ends_the_others_too() {
    let rig = Rig::new().await;
    rig.bundle("c1", "sleep 1000 & echo $! > /tmp/pid; read x", &[]);
    rig.edit("c1", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let reply = rig.action("c1", "start", &rig.parameters("c1"), None);
    let client = connect(
        &BootstrapResult::parse_from_bytes(&reply.stdout)
            .expect("protobuf")
            .address,
    )
    .await;
    let mut request = rig.create_request("c1", "", "");
    let fifo = rig.scratch.join("stdin");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs")
            .success()
    );
    request.stdin = fifo.display().to_string();
    client.create(soon(), &request).await.expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client
        .exec(soon(), &exec_request("c1", "e", "sleep 1000", ""))
        .await
        .expect("exec");
    client.start(soon(), &start_request("c1", "e")).await.expect("start");
    let pid = rig.scratch.join("rootfs/tmp/pid");
    davit_integration_tests::wait::until_true("the script runs", 10, || pid.exists());
    let close = CloseIORequest {
        id: id("c1"),
        stdin: true,
        ..Default::default()
    };
    client.close_io(soon(), &close).await.expect("close");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    rig.events_come(6).await;
    let exits: Vec<_> = rig.exits().into_iter().map(|(id, _)| id).collect();
    assert_eq!(exits, ["e", "c1"]);
    let orphan = fs::read_to_string(pid).expect("a pid");
    davit_integration_tests::wait::until_true("the orphan is gone", 10, || {
        !Path::new("/proc").join(orphan.trim()).exists()
    });
}

#[tokio::test]
async fn a_root_of_more_layers_than_a_page_of_options_holds_is_mounted() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "cat /layer-0 /layer-89")).await;
    let layers = rig
        .scratch
        .join("layers-in-a-folder-whose-name-is-long-enough-to-fill-a-page");
    let mut lower: Vec<String> = (0..90)
        .map(|number| {
            let layer = layers.join(number.to_string());
            fs::create_dir_all(&layer).expect("a layer");
            fs::write(layer.join(format!("layer-{number}")), format!("{number}\n")).expect("a file");
            layer.display().to_string()
        })
        .collect();
    davit_integration_tests::image::busybox_root(&layers.join("base")).expect("a root file system");
    lower.push(layers.join("base").display().to_string());
    let mut request = rig.create_request("c1", "", &format!("file://{}", rig.scratch.join("out").display()));
    request.rootfs = vec![davit_shim_api::task_v3::mount::Mount {
        type_: "overlay".into(),
        source: "overlay".into(),
        options: vec![format!("lowerdir={}", lower.join(":"))],
        ..Default::default()
    }];
    assert!(request.rootfs[0].options[0].len() > 4096);
    rig.edit("c1", |config| config["root"]["path"] = "rootfs".into());
    client.create(soon(), &request).await.expect("create");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    assert_eq!(fs::read_to_string(rig.scratch.join("out")).expect("output"), "0\n89\n");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
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
