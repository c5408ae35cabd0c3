//! Shims that print garbage, hang, or die in `start`.

use std::{fs, time::Duration};

use davit_containerd_api::services::{
    containers::v1::{Container, CreateContainerRequest, CreateContainerResponse, container::Runtime},
    tasks::v1::{CreateTaskRequest, CreateTaskResponse, GetRequest, GetResponse},
};
use davit_integration_tests::{Scratch, program, sweep, wait};
use prost_types::Any;

use super::{Asked, ask, of_ours, on_both};

async fn create(asked: &mut Asked, id: &str, runtime: &str) {
    let spec = Some(Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
        value: b"{}".into(),
    });
    let container = Container {
        id: id.into(),
        runtime: Some(Runtime {
            name: runtime.into(),
            options: None,
        }),
        spec,
        ..Default::default()
    };
    ask!(asked, id, "containers.v1.Containers/Create",
        CreateContainerRequest { container: Some(container) } => CreateContainerResponse);
    ask!(asked, &format!("task {id}"), "tasks.v1.Tasks/Create",
        CreateTaskRequest { container_id: id.into(), ..Default::default() } => CreateTaskResponse);
    ask!(asked, &format!("then get {id}"), "tasks.v1.Tasks/Get",
        GetRequest { container_id: id.into(), exec_id: String::new() } => GetResponse);
}

/// A shim whose `start` is this script. It cleans up without a word.
fn shim(scratch: &Scratch, name: &str, script: &str) {
    let others = "[ \"$1\" = -info ] && exit 1\nfor last; do :; done\n[ $last = delete ] && exit 0";
    program::write(scratch.join(name), &format!("#!/bin/sh\n{others}\n{script}\n"));
}

fn answer(version: u32, address: &str, protocol: &str) -> String {
    format!("echo '{{\"version\": {version}, \"address\": \"{address}\", \"protocol\": \"{protocol}\"}}'")
}

#[test]
fn a_shim_that_does_not_start_is_told_of_as_by_containerd() {
    let scratch = Scratch::new();
    let shims = [
        ("newer", answer(9, "unix:///no/such", "ttrpc")),
        ("protocol", answer(3, "unix:///no/such", "smoke")),
        ("tcp", answer(3, "tcp://127.0.0.1:1", "ttrpc")),
        ("socket", "echo unix:///no/such".into()),
        ("fails", "echo out; echo why >&2; exit 3".into()),
        ("killed", "echo why >&2; kill -9 $$".into()),
    ];
    for (name, script) in &shims {
        shim(&scratch, name, script);
    }
    on_both(&scratch, async |asked| {
        for (name, _) in &shims {
            let path = format!("{}/{name}", asked.scratch);
            create(asked, name, &path).await;
        }
    });
}

/// containerd connects to whatever it was told, and its status is too long for the client where a shim says much.
#[test]
fn a_shim_that_says_nonsense_is_told_of() {
    let scratch = Scratch::new();
    let shims = [
        ("garbage", "echo garbage", "dial unix garbage: connect: "),
        ("panic", "echo panic: it went wrong", "shim gave no address"),
        ("json", "echo '{\"version\": 3}'", "shim gave no address"),
        ("silent", "exit 0", "shim gave no address"),
        (
            "flood",
            "head -c 100000 /dev/zero | tr '\\0' x; exit 1",
            "xxx... (100000 bytes): exit status 1",
        ),
    ];
    for (name, script, _) in &shims {
        shim(&scratch, name, script);
    }
    let lines = of_ours(&scratch, async |asked| {
        for (name, ..) in &shims {
            let path = format!("{}/{name}", asked.scratch);
            create(asked, name, &path).await;
        }
    });
    for (name, _, words) in shims {
        let line = lines.iter().find(|line| line.starts_with(&format!("task {name}: ")));
        let line = line.expect("it was asked for");
        assert!(
            line.contains("Unknown failed to start shim: start failed: ") && line.contains(words),
            "{line}"
        );
    }
}

#[test]
fn a_shim_that_hangs_goes_with_the_client_that_waits_for_it() {
    let scratch = Scratch::new();
    shim(&scratch, "hangs", "exec sleep 1000");
    let lines = of_ours(&scratch, async |asked| {
        asked.patience = Duration::from_secs(2);
        let path = format!("{}/hangs", asked.scratch);
        create(asked, "hangs", &path).await;
        wait::until_true("the shim's program is gone", 10, || {
            let all = sweep::processes_of(scratch.path(), &[]);
            all.iter().all(|pid| !line_of(*pid).starts_with("sleep\0"))
        });
        let request = || CreateTaskRequest {
            container_id: "hangs".into(),
            ..Default::default()
        };
        // What it left is cleaned up; until then the id is taken.
        for attempt in 0.. {
            assert!(attempt < 400, "the id is never free: {}", asked.last());
            ask!(asked, "again", "tasks.v1.Tasks/Create", request() => CreateTaskResponse);
            if !asked.last().contains("AlreadyExists") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    for what in ["task hangs: ", "again: "] {
        // The last: before, the id was taken.
        let line = lines
            .iter()
            .rfind(|line| line.starts_with(what))
            .expect("it was asked for");
        assert!(
            line.contains("DeadlineExceeded") || line.contains("Cancelled"),
            "{line}"
        );
    }
}

fn line_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}
