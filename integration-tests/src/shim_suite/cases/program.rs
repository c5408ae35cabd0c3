//! The program that the manager executes: `start`, `delete`, `-v`, `-info`.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use davit_integration_tests::wait;
use davit_shim_api::{
    task_v2::{shim as v2, shim_ttrpc::TaskClient as ClientV2},
    task_v3::shim::DeleteResponse,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use protobuf::Message;
use ttrpc::{asynchronous::Client, context};

use crate::{
    task::as_other,
    world::{World, address_in, output, path_of, version_in},
};

pub async fn it_says_its_version_and_what_it_can_do(world: World) {
    let call = |flag: &str| {
        let mut command = Command::new(&world.subject.shim);
        command.arg(flag);
        let said = output(command, b"");
        assert!(said.status.success(), "{flag}: {said:?}");
        said.stdout
    };
    assert!(!call("-v").is_empty());
    // A containerd.types.RuntimeInfo: its first field is the name of the runtime.
    let info = call("-info");
    assert_eq!(info.first(), Some(&0x0a), "{info:?}");
}

pub async fn start_answers_with_a_socket_for_its_owner_alone(world: World) {
    world.bundle("c", "true");
    let address = world.start("c");
    let socket = path_of(&address);
    let mode = |path| fs::metadata(path).expect("it is there when start returns").permissions().mode() & 0o777;
    assert_eq!(mode(socket) & 0o077, 0, "{address}");
    let task = world.task_at(&address, "c").await;
    assert!(task.connect().await.expect("connect").shim_pid > 0);
    task.shutdown().await.expect("shutdown");
    wait::until_true("the socket has gone with the shim", 10, || !socket.exists());
}

pub async fn start_without_an_id_or_a_bundle_is_refused(world: World) {
    world.bundle("c", "true");
    let nameless = world.action("", &["start"], b"");
    assert!(!nameless.status.success(), "{nameless:?}");
    fs::create_dir(world.scratch.join("empty")).expect("a folder");
    let without = world.action("empty", &["start"], b"");
    assert!(!without.status.success(), "{without:?}");
}

pub async fn containers_of_a_group_share_a_shim(world: World) {
    for id in ["a", "b"] {
        world.bundle(id, "sleep 1000");
        world.edit(id, |config| config["annotations"]["io.kubernetes.cri.sandbox-id"] = "a".into());
    }
    let addresses = ["a", "b"].map(|id| world.start(id));
    assert_eq!(addresses[0], addresses[1]);
    let (a, b) = (world.task_at(&addresses[0], "a").await, world.task_at(&addresses[1], "b").await);
    for task in [&a, &b] {
        task.run().await;
    }
    let shims = [a.connect().await, b.connect().await].map(|answer| answer.expect("connect").shim_pid);
    assert_eq!(shims[0], shims[1]);
    a.end().await;
    a.shutdown().await.expect("an answer");
    assert!(b.state("").await.is_ok(), "the other container keeps the shim");
    b.end().await;
}

pub async fn delete_ends_what_a_killed_shim_left(world: World) {
    let (task, pid) = world.running("c", "sleep 1000").await;
    let shim = task.connect().await.expect("connect").shim_pid;
    kill(Pid::from_raw(shim as i32), Signal::SIGKILL).expect("it runs");
    let bundle = world.scratch.join("c").display().to_string();
    let answer = deleted(&world, &bundle);
    assert_eq!((answer.pid, answer.exit_status), (pid, 137));
    assert!(answer.exited_at.is_some());
    wait::until_true("the container has ended", 10, || !fs::exists(format!("/proc/{pid}")).expect("proc"));
    assert_eq!(world.cgroup_file("c", "cgroup.procs").unwrap_or_default(), "");
}

pub async fn delete_of_what_never_was_is_no_error(world: World) {
    let bundle = world.bundle("c", "true").display().to_string();
    deleted(&world, &bundle);
}

fn deleted(world: &World, bundle: &str) -> DeleteResponse {
    let answer = world.action("c", &["-bundle", bundle, "delete"], b"");
    assert!(answer.status.success(), "{answer:?}");
    DeleteResponse::parse_from_bytes(&answer.stdout).expect("a DeleteResponse")
}

pub async fn the_generation_that_start_answers_is_served(world: World) {
    world.bundle("c", "exit 5");
    let reply = world.reply_of_start("c");
    let (address, version) = (address_in(&reply), version_in(&reply));
    let task = world.task_at(&address, "c").await;
    if version >= 3 {
        task.run().await;
    } else {
        let old = ClientV2::new(Client::connect(&address).await.expect("a shim"));
        let soon = || context::with_duration(Duration::from_secs(60));
        let request = as_other(&task.request);
        old.create(soon(), &request).await.expect("create");
        let request = v2::StartRequest {
            id: "c".into(),
            ..Default::default()
        };
        old.start(soon(), &request).await.expect("start");
    }
    assert_eq!(task.wait("").await.expect("wait"), 5);
    task.delete("").await.expect("delete");
}
