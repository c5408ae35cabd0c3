//! Tasks: unknown ones, wrong states, and messages of no known type.

use davit_containerd_api::{
    services::{
        containers::v1::{
            Container, CreateContainerRequest, CreateContainerResponse, DeleteContainerRequest, container::Runtime,
        },
        tasks::v1::*,
    },
    types::Mount,
};
use davit_integration_tests::{Scratch, image};
use prost_types::Any;
use serde_json::json;

use super::{Asked, ask, of_ours, with_both_shims};

const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

fn any(type_url: &str, value: impl Into<Vec<u8>>) -> Option<Any> {
    Some(Any {
        type_url: type_url.into(),
        value: value.into(),
    })
}

fn process(arguments: &[&str]) -> serde_json::Value {
    json!({"args": arguments, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]})
}

fn spec(asked: &Asked, id: &str, arguments: &[&str]) -> Option<Any> {
    let name = asked.scratch.rsplit('/').next().expect("a path");
    let namespaces: Vec<_> = ["pid", "mount", "ipc", "uts", "network"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let spec = json!({
        "ociVersion": "1.1.0", "process": process(arguments), "root": {"path": "rootfs"},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
        ],
        "linux": {"namespaces": namespaces, "cgroupsPath": format!("/davit-tests/{id}-{name}")},
    });
    any(SPEC, spec.to_string())
}

async fn create_container(asked: &mut Asked, id: &str, runtime: &str, spec: Option<Any>) {
    let container = Container {
        id: id.into(),
        runtime: Some(Runtime {
            name: runtime.into(),
            options: None,
        }),
        spec,
        ..Default::default()
    };
    let request = CreateContainerRequest {
        container: Some(container),
    };
    ask!(asked, &format!("container {id}"), "containers.v1.Containers/Create", request => CreateContainerResponse);
}

fn create(asked: &Asked, id: &str) -> CreateTaskRequest {
    let rootfs = Mount {
        r#type: "bind".into(),
        source: format!("{}/root", asked.scratch),
        target: String::new(),
        options: vec!["rbind".into(), "ro".into()],
    };
    CreateTaskRequest {
        container_id: id.into(),
        rootfs: vec![rootfs],
        ..Default::default()
    }
}

/// Every call on a task or an exec that need not be there.
async fn every_call(asked: &mut Asked, when: &str, id: &str, exec: &str) {
    let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
    let what = |verb: &str| format!("{when}: {verb}");
    let start = StartRequest {
        container_id: container_id.clone(),
        exec_id: exec_id.clone(),
    };
    // Of this, too, containerd's shim dies when the container ends.
    if !when.starts_with("exec ") {
        ask!(asked, &what("start"), "tasks.v1.Tasks/Start", start => StartResponse);
    }
    let get = GetRequest {
        container_id: container_id.clone(),
        exec_id: exec_id.clone(),
    };
    ask!(asked, &what("get"), "tasks.v1.Tasks/Get", get => GetResponse);
    let kill = KillRequest {
        container_id: container_id.clone(),
        exec_id: exec_id.clone(),
        signal: 0,
        all: false,
    };
    ask!(asked, &what("kill"), "tasks.v1.Tasks/Kill", kill => ());
    let resize = ResizePtyRequest {
        container_id: container_id.clone(),
        exec_id: exec_id.clone(),
        width: 1,
        height: 1,
    };
    ask!(asked, &what("resize"), "tasks.v1.Tasks/ResizePty", resize => ());
    let close = CloseIoRequest {
        container_id: container_id.clone(),
        exec_id: exec_id.clone(),
        stdin: true,
    };
    ask!(asked, &what("close"), "tasks.v1.Tasks/CloseIO", close => ());
    if exec.is_empty() {
        ask!(asked, &what("pids"), "tasks.v1.Tasks/ListPids",
            ListPidsRequest { container_id: container_id.clone() } => ListPidsResponse);
        ask!(asked, &what("resume"), "tasks.v1.Tasks/Resume",
            ResumeTaskRequest { container_id: container_id.clone() } => ());
        let update = UpdateTaskRequest {
            container_id: container_id.clone(),
            resources: any("x", vec![]),
            annotations: Default::default(),
        };
        ask!(asked, &what("update"), "tasks.v1.Tasks/Update", update => ());
        let update = UpdateTaskRequest {
            container_id: container_id.clone(),
            resources: None,
            annotations: Default::default(),
        };
        // containerd's shim dies of it.
        if !["running", "stopped"].contains(&when) {
            ask!(asked, &what("update with nothing"), "tasks.v1.Tasks/Update", update => ());
        }
        ask!(asked, &what("delete"), "tasks.v1.Tasks/Delete", DeleteTaskRequest { container_id } => DeleteResponse);
    } else {
        // containerd's shim counts an exec twice that was never started, and dies when its container ends.
        if when != "exec not started" {
            ask!(asked, &what("delete"), "tasks.v1.Tasks/DeleteProcess",
            DeleteProcessRequest { container_id, exec_id } => DeleteResponse);
        }
    }
}

async fn exec(asked: &mut Asked, what: &str, id: &str, exec: &str, spec: Option<Any>) {
    let request = ExecProcessRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        spec,
        ..Default::default()
    };
    ask!(asked, what, "tasks.v1.Tasks/Exec", request => ());
}

async fn wait(asked: &mut Asked, id: &str, exec: &str) {
    let request = WaitRequest {
        container_id: id.into(),
        exec_id: exec.into(),
    };
    let answer: Option<WaitResponse> = asked
        .call(&format!("wait for {id} {exec}"), "tasks.v1.Tasks/Wait", request)
        .await;
    asked.write(format!("{:?}", answer.map(|answer| answer.exit_status)));
}

async fn kill(asked: &mut Asked, id: &str, exec: &str, signal: u32) {
    let request = KillRequest {
        container_id: id.into(),
        exec_id: exec.into(),
        signal,
        all: false,
    };
    ask!(asked, &format!("kill {id} {exec} with {signal}"), "tasks.v1.Tasks/Kill", request => ());
}

#[test]
fn calls_on_tasks_are_refused_as_by_containerd() {
    let scratch = Scratch::new();
    image::busybox_root(&scratch.join("root")).expect("a root");
    let in_other_words = [
        "create without a root: ",
        "create with streams of an unknown kind: ",
        "running: update: ",
        "exec of no process: ",
        "kill c  with 999: ",
    ];
    with_both_shims(&scratch, &in_other_words, async |asked| {
        let headers = std::mem::take(&mut asked.headers);
        every_call(asked, "without a namespace", "x", "").await;
        ask!(asked, "list without a namespace", "tasks.v1.Tasks/List",
            ListTasksRequest::default() => ListTasksResponse);
        ask!(asked, "create without a namespace", "tasks.v1.Tasks/Create", create(asked, "x") => CreateTaskResponse);
        asked.headers = headers;
        for id in ["", "../x", "none"] {
            every_call(asked, &format!("unknown {id:?}"), id, "").await;
            every_call(asked, &format!("unknown {id:?}'s exec"), id, "e").await;
            exec(asked, &format!("unknown {id:?}: exec"), id, "e", any(PROCESS, "{}")).await;
            ask!(asked, &format!("unknown {id:?}: create"), "tasks.v1.Tasks/Create",
                create(asked, id) => CreateTaskResponse);
            wait(asked, id, "").await;
            ask!(asked, &format!("unknown {id:?}: checkpoint"), "tasks.v1.Tasks/Checkpoint",
                CheckpointTaskRequest { container_id: id.into(), ..Default::default() } => CheckpointTaskResponse);
        }
        let runc = "io.containerd.runc.v2";
        create_container(asked, "c", runc, spec(asked, "c", &["sleep", "1000"])).await;
        every_call(asked, "without a task", "c", "").await;
        every_call(asked, "without a task, an exec", "c", "e").await;
        exec(asked, "without a task: exec", "c", "e", any(PROCESS, "{}")).await;
        wait(asked, "c", "").await;

        ask!(asked, "create with an unknown runtime", "tasks.v1.Tasks/Create",
            CreateTaskRequest { runtime_path: "/no/such/shim".into(), ..create(asked, "c") } => CreateTaskResponse);
        let mut request = create(asked, "c");
        request.rootfs[0].source += "/none";
        ask!(asked, "create without a root", "tasks.v1.Tasks/Create", request => CreateTaskResponse);
        ask!(asked, "create with streams of an unknown kind", "tasks.v1.Tasks/Create",
            CreateTaskRequest { stdout: "nonsense:///x".into(), ..create(asked, "c") } => CreateTaskResponse);
        for (name, spec) in [("u", any("x.y", "{}")), ("v", any(SPEC, "{")), ("w", any(SPEC, ""))] {
            create_container(asked, name, runc, spec).await;
            ask!(asked, &format!("create {name}"), "tasks.v1.Tasks/Create", create(asked, name) => CreateTaskResponse);
        }
        for (name, runtime) in [
            ("r1", "io.containerd.none.v1"),
            ("r2", "nonsense"),
            ("r3", "../x/y.z"),
            ("r4", "/no/such"),
        ] {
            create_container(asked, name, runtime, spec(asked, name, &["true"])).await;
            ask!(asked, &format!("create with runtime {runtime}"), "tasks.v1.Tasks/Create",
                create(asked, name) => CreateTaskResponse);
        }

        ask!(asked, "create", "tasks.v1.Tasks/Create", create(asked, "c") => CreateTaskResponse);
        ask!(asked, "create again", "tasks.v1.Tasks/Create", create(asked, "c") => CreateTaskResponse);
        every_call(asked, "created, an unknown exec", "c", "none").await;
        exec(
            asked,
            "created: exec",
            "c",
            "early",
            any(PROCESS, process(&["true"]).to_string()),
        )
        .await;
        ask!(asked, "created: pause", "tasks.v1.Tasks/Pause", PauseTaskRequest { container_id: "c".into() } => ());
        ask!(asked, "start", "tasks.v1.Tasks/Start",
            StartRequest { container_id: "c".into(), exec_id: String::new() } => StartResponse);
        every_call(asked, "running", "c", "").await;
        every_call(asked, "running, an unknown exec", "c", "none").await;
        for (what, id, process) in [
            ("nameless", "", any(PROCESS, process(&["true"]).to_string())),
            ("of an unknown type", "e2", any("x.y", "{}")),
            ("of no process", "e3", any(PROCESS, "{")),
            ("of no arguments", "e4", any(PROCESS, "{}")),
            ("of sleep", "e5", any(PROCESS, process(&["sleep", "1000"]).to_string())),
            (
                "of sleep again",
                "e5",
                any(PROCESS, process(&["sleep", "1000"]).to_string()),
            ),
            (
                "of a missing program",
                "e6",
                any(PROCESS, process(&["no-such-program"]).to_string()),
            ),
        ] {
            exec(asked, &format!("exec {what}"), "c", id, process).await;
        }
        every_call(asked, "exec not started", "c", "e4").await;
        kill(asked, "c", "e5", 9).await;
        ask!(asked, "start exec", "tasks.v1.Tasks/Start",
            StartRequest { container_id: "c".into(), exec_id: "e5".into() } => StartResponse);
        ask!(asked, "start missing program", "tasks.v1.Tasks/Start",
            StartRequest { container_id: "c".into(), exec_id: "e6".into() } => StartResponse);
        every_call(asked, "exec running", "c", "e5").await;
        kill(asked, "c", "", 999).await;
        kill(asked, "c", "e5", 9).await;
        wait(asked, "c", "e5").await;
        every_call(asked, "exec stopped", "c", "e5").await;
        exec(
            asked,
            "of sleep once more",
            "c",
            "e7",
            any(PROCESS, process(&["sleep", "1000"]).to_string()),
        )
        .await;
        ask!(asked, "delete the running container", "containers.v1.Containers/Delete",
            DeleteContainerRequest { id: "c".into() } => ());
        create_container(asked, "c", runc, spec(asked, "c", &["sleep", "1000"])).await;
        kill(asked, "c", "", 9).await;
        wait(asked, "c", "").await;
        exec(
            asked,
            "stopped: exec",
            "c",
            "late",
            any(PROCESS, process(&["true"]).to_string()),
        )
        .await;
        ask!(asked, "stopped: start exec", "tasks.v1.Tasks/Start",
            StartRequest { container_id: "c".into(), exec_id: "e7".into() } => StartResponse);
        ask!(asked, "stopped: pause", "tasks.v1.Tasks/Pause", PauseTaskRequest { container_id: "c".into() } => ());
        kill(asked, "c", "", 9).await;
        every_call(asked, "stopped, an unknown exec", "c", "none").await;
        every_call(asked, "stopped", "c", "").await;
        every_call(asked, "deleted", "c", "").await;
        for filter in ["id==c", "id=c"] {
            if filter != "id=c" {
                ask!(asked, &format!("metrics {filter}"), "tasks.v1.Tasks/Metrics",
                    MetricsRequest { filters: vec![filter.into()] } => MetricsResponse);
            }
            ask!(asked, &format!("list {filter}"), "tasks.v1.Tasks/List",
                ListTasksRequest { filter: filter.into() } => ListTasksResponse);
        }
    });
}

/// containerd dies of a container without a specification, and has no kind of error for some of the others.
#[test]
fn what_no_task_can_be_made_of_is_an_invalid_argument() {
    let scratch = Scratch::new();
    image::busybox_root(&scratch.join("root")).expect("a root");
    let lines = of_ours(&scratch, async |asked| {
        let runc = "io.containerd.runc.v2";
        create_container(asked, "s", runc, None).await;
        ask!(asked, "no specification", "tasks.v1.Tasks/Create", create(asked, "s") => CreateTaskResponse);
        create_container(asked, "c", runc, spec(asked, "c", &["sleep", "1000"])).await;
        let options = any("containerd.runc.v1.Options", vec![1]);
        ask!(asked, "options that are none", "tasks.v1.Tasks/Create",
            CreateTaskRequest { options, ..create(asked, "c") } => CreateTaskResponse);
        ask!(asked, "create", "tasks.v1.Tasks/Create", create(asked, "c") => CreateTaskResponse);
        exec(asked, "exec of nothing", "c", "e", None).await;
        let update = UpdateTaskRequest {
            container_id: "c".into(),
            ..Default::default()
        };
        ask!(asked, "update with nothing", "tasks.v1.Tasks/Update", update => ());
        exec(
            asked,
            "bad name",
            "c",
            "../e",
            any(PROCESS, process(&["true"]).to_string()),
        )
        .await;
        ask!(asked, "bad filter", "tasks.v1.Tasks/Metrics",
            MetricsRequest { filters: vec!["id=c".into()] } => MetricsResponse);
        kill(asked, "c", "", 9).await;
        wait(asked, "c", "").await;
        ask!(asked, "delete", "tasks.v1.Tasks/Delete", DeleteTaskRequest { container_id: "c".into() } => DeleteResponse);
    });
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line.contains(": InvalidArgument "))
        .collect();
    assert_eq!(refused.len(), 6, "{lines:#?}");
}
