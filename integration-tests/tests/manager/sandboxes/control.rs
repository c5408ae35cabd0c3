//! The controller: a sandbox is made, started, asked for, stopped and removed.

use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

use davit_containerd_api::{
    services::sandbox::v1::{
        ControllerCreateRequest, ControllerMetricsRequest, ControllerPlatformRequest, ControllerUpdateRequest,
    },
    types::Mount,
};
use davit_integration_tests::{Manager, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use prost_types::Any;
use serde_json::json;
use tonic::{Code, Status};

use super::{
    super::super::{Shim, World},
    rig::{Controller, Kind, Rig},
};

fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("it is refused").code()
}

/// Waits for a sandbox's end beside the test.
fn waiting(controller: &Controller, id: &str) -> tokio::task::JoinHandle<Result<u32, Status>> {
    let (mut controller, id) = (controller.clone(), id.to_owned());
    tokio::spawn(async move { Ok(controller.wait(&id).await?.exit_status) })
}

async fn lives_until_it_is_stopped(kind: Kind) {
    let rig = Rig::new(kind);
    let mut controller = rig.controller().await;
    let heard = rig.listen();
    let id = rig.world.id("s");

    // Of one that is not there.
    let status = controller.status(&id).await.expect("an answer");
    assert!(status.state.is_empty() && status.exited_at.is_some());
    controller.stop(&id, 0).await.expect("nothing is left to stop");
    assert_eq!(code(controller.wait(&id).await), Code::NotFound);
    assert_eq!(code(controller.shutdown(&id).await), Code::NotFound);
    controller.start(&id).await.expect_err("it is not there");

    let sandbox = rig.sandbox(&id, None);
    rig.record(sandbox.clone()).await;
    controller.create(sandbox.clone()).await.expect("create");
    assert_eq!(code(controller.create(sandbox).await), Code::AlreadyExists);
    assert_eq!(controller.status(&id).await.expect("status").state, "SANDBOX_NOTREADY");
    let started = controller.start(&id).await.expect("start");
    assert_eq!((started.sandbox_id.as_str(), started.pid), (id.as_str(), 0));
    assert!(started.created_at.is_some());
    let status = controller.status(&id).await.expect("status");
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_READY", 0));
    assert_eq!(status.created_at, started.created_at);
    assert_eq!(status.info["shim_pid"], rig.shims()[0].to_string());
    let request = ControllerPlatformRequest {
        sandbox_id: id.clone(),
        sandboxer: "shim".into(),
    };
    let platform = controller.0.platform(request).await;
    if kind == Kind::Containerd {
        // It asks for it within itself alone.
        assert_eq!(code(platform), Code::Unimplemented);
    } else {
        let platform = platform.expect("platform").into_inner().platform;
        assert_eq!(platform.expect("a platform").os, "linux");
    }
    let request = ControllerMetricsRequest {
        sandbox_id: id.clone(),
        sandboxer: "shim".into(),
    };
    let refused = controller
        .0
        .metrics(request)
        .await
        .expect_err("nothing of its own runs");
    assert!(
        refused.message().contains("no process, and no cgroup, of its own"),
        "{refused}"
    );

    let ended = waiting(&controller, &id);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!ended.is_finished());
    controller.stop(&id, 1).await.expect("stop");
    assert_eq!(ended.await.expect("no panic").expect("wait"), 0);
    assert_eq!(controller.wait(&id).await.expect("wait").exit_status, 0);
    let status = controller.status(&id).await.expect("status");
    assert_eq!(status.state, "SANDBOX_NOTREADY");
    assert!(status.exited_at.is_some());
    controller.stop(&id, 0).await.expect("it is stopped");
    controller.shutdown(&id).await.expect("shutdown");
    assert_eq!(controller.status(&id).await.expect("an answer").state, "");
    rig.no_shim_is_left();

    let told = || heard.of_sandbox(&id);
    wait::until_true("the end is told", 10, || told().contains(&"/sandboxes/exit".into()));
    let mut told = told();
    if kind == Kind::Containerd {
        // containerd tells the end to each who waits.
        told.dedup();
    }
    assert_eq!(told, ["/sandboxes/create", "/sandboxes/start", "/sandboxes/exit"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_without_a_process_lives_until_it_is_stopped() {
    for kind in [Kind::Containerd, Kind::Ours] {
        lives_until_it_is_stopped(kind).await;
    }
}

async fn ends_with_its_process(kind: Kind) {
    let rig = Rig::new(kind);
    let mut controller = rig.controller().await;
    let id = rig.world.id("p");
    let spec = rig.spec(&id, "until [ -e /tmp/go ]; do sleep 0.01; done; exit 7");
    let started = rig.started(&id, Some(&spec)).await;
    let line = fs::read_to_string(format!("/proc/{}/cmdline", started.pid)).expect("it runs");
    assert!(line.contains("/tmp/go"), "{line}");
    assert_eq!(controller.status(&id).await.expect("status").pid, started.pid);
    let request = ControllerMetricsRequest {
        sandbox_id: id.clone(),
        sandboxer: "shim".into(),
    };
    let metrics = controller
        .0
        .metrics(request)
        .await
        .expect("metrics")
        .into_inner()
        .metrics;
    assert_eq!(metrics.expect("a sample").id, id);
    let ended = waiting(&controller, &id);
    fs::create_dir_all(rig.world.root.join("tmp")).expect("the root is ours");
    fs::write(rig.world.root.join("tmp/go"), "").expect("the root is ours");
    assert_eq!(ended.await.expect("no panic").expect("wait"), 7);
    assert_eq!(controller.status(&id).await.expect("status").state, "SANDBOX_NOTREADY");
    controller.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
    assert!(!fs::exists(format!("/run/davit/runc/default/{id}")).expect("it can be looked for"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_with_a_process_of_its_own_ends_with_it() {
    for kind in [Kind::Containerd, Kind::Ours] {
        ends_with_its_process(kind).await;
    }
}

async fn outlives_its_manager(kind: Kind) {
    let mut rig = Rig::new(kind);
    let [plain, own, over] = ["plain", "own", "over"].map(|name| rig.world.id(name));
    let spec = rig.spec(&own, "sleep 1000");
    rig.started(&plain, None).await;
    let started = rig.started(&own, Some(&spec)).await;
    rig.started(&over, None).await;
    rig.controller().await.stop(&over, 0).await.expect("stop");
    rig.kill();
    rig.start();
    let mut controller = rig.controller().await;
    for (id, pid, state) in [
        (&plain, 0, "SANDBOX_READY"),
        (&own, started.pid, "SANDBOX_READY"),
        (&over, 0, "SANDBOX_NOTREADY"),
    ] {
        let status = controller.status(id).await.expect("status");
        assert_eq!((status.state.as_str(), status.pid), (state, pid), "{id}");
    }
    assert_eq!(controller.wait(&over).await.expect("wait").exit_status, 0);
    let heard = rig.listen();
    let ended = [&plain, &own].map(|id| waiting(&controller, id));
    for id in [&plain, &own] {
        controller.stop(id, 0).await.expect("stop");
    }
    let [plainly, killed] = ended;
    assert_eq!(plainly.await.expect("no panic").expect("wait"), 0);
    assert_eq!(killed.await.expect("no panic").expect("wait"), 137);
    for id in [&plain, &own, &over] {
        controller.shutdown(id).await.expect("shutdown");
    }
    rig.no_shim_is_left();
    for id in [&plain, &own] {
        let is_told = || heard.of_sandbox(id) == ["/sandboxes/exit"];
        wait::until_true(&format!("the end of {id} is told once"), 10, is_told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_outlives_a_killed_manager_and_its_end_is_told() {
    for kind in [Kind::Containerd, Kind::Ours] {
        outlives_its_manager(kind).await;
    }
}

/// With containerd, who waits gets an error.
async fn dies_with_its_shim(kind: Kind) {
    let rig = Rig::new(kind);
    let mut controller = rig.controller().await;
    let [plain, own] = ["plain", "own"].map(|name| rig.world.id(name));
    let spec = rig.spec(&own, "sleep 1000");
    rig.started(&plain, None).await;
    let process = rig.started(&own, Some(&spec)).await.pid;
    let heard = rig.listen();
    let ended = [&plain, &own].map(|id| waiting(&controller, id));
    tokio::time::sleep(Duration::from_millis(200)).await;
    for shim in rig.shims() {
        kill(Pid::from_raw(shim as i32), Signal::SIGKILL).expect("it runs");
    }
    for ended in ended {
        let answer = ended.await.expect("no panic");
        if kind == Kind::Containerd {
            answer.expect_err("the connection is closed");
        } else {
            assert_eq!(answer.expect("wait"), 137);
        }
    }
    wait::until_true("its process has ended with the shim", 10, || {
        !fs::exists(format!("/proc/{process}")).expect("proc")
    });
    for id in [&plain, &own] {
        // Of containerd's clean-up nobody waits for the end.
        let status = || async { rig.controller().await.status(id).await.expect("an answer").state };
        for _ in 0..100 {
            if status().await.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(status().await, "");
        controller.stop(id, 0).await.expect("nothing is left to stop");
    }
    if kind == Kind::Ours {
        for id in [&plain, &own] {
            wait::until_true("its end is told", 10, || heard.of_sandbox(id) == ["/sandboxes/exit"]);
        }
        assert_eq!(heard.of_task(&plain), [""; 0]);
        let ends: [String; 2] = ["/tasks/exit".into(), "/tasks/delete".into()];
        wait::until_true("its process's end is told", 10, || heard.of_task(&own).ends_with(&ends));
        let told = heard.of_task(&own);
        assert!(
            told.ends_with(&["/tasks/exit".into(), "/tasks/delete".into()]) && told.len() <= 4,
            "{told:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_a_shim_is_the_end_of_its_sandbox() {
    for kind in [Kind::Containerd, Kind::Ours] {
        dies_with_its_shim(kind).await;
    }
}

/// `ctr sandboxes` names no controller, and makes nothing before it starts it. containerd 2.1 refuses the first.
#[test]
fn ctr_runs_and_removes_a_sandbox_here() {
    let rig = Rig::new(Kind::Containerd);
    let [file, id] = [
        rig.world.scratch.join("pod.json").display().to_string(),
        rig.world.id("s"),
    ];
    fs::write(&file, json!({ "ociVersion": "1.0.2" }).to_string()).expect("the folder is ours");
    let run = ["sandboxes", "run", "--runtime", &rig.runtime(), &file, &id];
    rig.world
        .ctr(&run)
        .code_is(1)
        .says("sandbox controller name can not be empty");
    drop(rig);

    let rig = Rig::new(Kind::Ours);
    let [file, id] = [
        rig.world.scratch.join("pod.json").display().to_string(),
        rig.world.id("s"),
    ];
    let own = rig.world.id("own");
    fs::write(&file, json!({ "ociVersion": "1.0.2" }).to_string()).expect("the folder is ours");
    let run = |id: &str| {
        rig.world
            .ctr(&["sandboxes", "run", "--runtime", "io.containerd.davit.v1", &file, id])
    };
    assert_eq!(run(&id).ok(), id);
    fs::write(&file, rig.spec(&own, "sleep 1000").to_string()).expect("the folder is ours");
    assert_eq!(run(&own).ok(), own);
    let list = rig.world.ctr(&["sandboxes", "list"]).ok();
    assert!(list.contains(&id) && list.contains(&own), "{list}");
    assert_eq!(rig.shims().len(), 2);
    // What runs for a sandbox is a task; it is not a client's to remove.
    assert_eq!(
        (rig.world.status(&id).as_str(), rig.world.status(&own).as_str()),
        ("", "RUNNING")
    );
    // One that has died can be removed, too.
    let died = rig.world.id("died");
    fs::write(&file, rig.spec(&died, "sleep 1000").to_string()).expect("the folder is ours");
    let before = rig.shims();
    assert_eq!(run(&died).ok(), died);
    let shim = rig
        .shims()
        .into_iter()
        .find(|shim| !before.contains(shim))
        .expect("its shim");
    kill(Pid::from_raw(shim as i32), Signal::SIGKILL).expect("it runs");
    wait::until_true("its task is gone", 10, || rig.world.status(&died).is_empty());
    rig.world.ctr(&["sandboxes", "rm", &id, &own, &died]).ok();
    assert_eq!(rig.world.ctr(&["sandboxes", "list"]).ok().lines().count(), 1);
    rig.no_shim_is_left();

    fs::write(&file, json!({ "ociVersion": "1.0.2" }).to_string()).expect("the folder is ours");
    let label = [
        "namespaces",
        "label",
        "default",
        "containerd.io/defaults/sandboxer=other",
    ];
    rig.world.ctr(&label).ok();
    run(&id).code_is(1).says("failed to get sandbox controller by other");
    let plugins = rig.world.ctr(&["plugins", "list"]).ok();
    for (kind, name) in [
        ("io.containerd.sandbox.store.v1", "local"),
        ("io.containerd.sandbox.controller.v1", "shim"),
        ("io.containerd.grpc.v1", "sandbox-controllers"),
    ] {
        let is_it = |line: &&str| line.split_whitespace().take(2).eq([kind, name]);
        assert!(
            plugins
                .lines()
                .any(|line| is_it(&line) && line.trim_end().ends_with("ok")),
            "{plugins}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sandbox_cannot_have_is_refused_by_name_and_leaves_nothing() {
    let rig = Rig::new(Kind::Ours);
    let Controller(mut controller) = rig.controller().await;
    let id = rig.world.id("s");
    let request = |change: &dyn Fn(&mut ControllerCreateRequest)| {
        let mut request = ControllerCreateRequest {
            sandbox_id: id.clone(),
            sandbox: Some(rig.sandbox(&id, None)),
            sandboxer: "shim".into(),
            ..Default::default()
        };
        change(&mut request);
        request
    };
    let pod = Any {
        type_url: "runtime.v1.PodSandboxConfig".into(),
        value: vec![10, 0],
    };
    let runtime = |name: &str| {
        let mut sandbox = rig.sandbox(&id, None);
        sandbox.runtime.as_mut().expect("a runtime").name = name.into();
        sandbox
    };
    let spec = rig.spec(&id, "true");
    let cases: [(ControllerCreateRequest, Code, &str); 8] = [
        (
            request(&|r| r.sandboxer = "podsandbox".into()),
            Code::NotFound,
            "podsandbox",
        ),
        (
            request(&|r| r.sandbox_id = "../x".into()),
            Code::InvalidArgument,
            "../x",
        ),
        (request(&|r| r.sandbox = None), Code::NotFound, &id),
        (
            request(&|r| r.options = Some(pod.clone())),
            Code::InvalidArgument,
            "runtime.v1.PodSandboxConfig",
        ),
        (
            request(&|r| r.rootfs = vec![Mount::default()]),
            Code::Unimplemented,
            "root file system",
        ),
        (
            request(&|r| r.sandbox = Some(runtime(""))),
            Code::Unknown,
            "no runtime name",
        ),
        (
            request(&|r| r.sandbox = Some(runtime("io.containerd.none.v1"))),
            Code::Unknown,
            "containerd-shim-none-v1",
        ),
        (
            request(&|r| {
                r.sandbox = Some(rig.sandbox(&id, Some(&spec)));
                r.netns_path = "/run/netns/none".into();
            }),
            Code::InvalidArgument,
            "/run/netns/none",
        ),
    ];
    for (request, code, named) in cases {
        let refused = controller.create(request).await.expect_err(named);
        assert!(
            refused.code() == code && refused.message().contains(named),
            "{refused:?}"
        );
        rig.no_shim_is_left();
        for folder in ["cstate", "croot"] {
            let bundles = rig
                .world
                .scratch
                .join(folder)
                .join("io.containerd.sandbox.controller.v1.shim/default");
            assert_eq!(fs::read_dir(bundles).into_iter().flatten().count(), 0);
        }
    }
    rig.started(&id, None).await;
    let again = rig.controller().await.start(&id).await.expect_err("it runs");
    assert_eq!(again.code(), Code::FailedPrecondition);
    let update = |fields: &[&str]| ControllerUpdateRequest {
        sandbox_id: id.clone(),
        sandboxer: "shim".into(),
        sandbox: Some(rig.sandbox(&id, None)),
        fields: fields.iter().map(|field| (*field).into()).collect(),
    };
    controller
        .update(update(&["labels", "extensions.x"]))
        .await
        .expect("the shim has no part in it");
    assert_eq!(
        code(controller.update(update(&["runtime.options"])).await),
        Code::Unimplemented
    );
    let mut controller = rig.controller().await;
    assert_eq!(controller.status(&id).await.expect("status").state, "SANDBOX_READY");
    controller.shutdown(&id).await.expect("shutdown");
    rig.no_shim_is_left();
}

/// What the shim makes of it after the manager's death is given up by the next, and can be asked for anew.
#[test]
fn a_sandbox_whose_manager_is_killed_while_it_is_made_leaves_nothing() {
    let mut rig = Rig::new(Kind::Ours);
    let id = rig.world.id("s");
    let file = rig.world.scratch.join("pod.json").display().to_string();
    fs::write(&file, rig.spec(&id, "sleep 1000").to_string()).expect("the folder is ours");
    let mut run = rig.world.scratch.ctr(&rig.world.socket);
    run.args(["sandboxes", "run"])
        .args(rig.world.with_slow_creation())
        .args([&file, &id]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = run.spawn().expect("ctr starts");
    wait::until_true("the runtime is called", 20, || rig.world.scratch.join("began").exists());
    rig.kill();
    running.wait().expect("ctr is a child");

    rig.start();

    rig.no_shim_is_left();
    let bundles = rig
        .world
        .scratch
        .join("cstate/io.containerd.sandbox.controller.v1.shim/default");
    wait::until_true("its bundle is removed", 10, || {
        fs::read_dir(&bundles).into_iter().flatten().count() == 0
    });
    assert!(!fs::exists(format!("/run/davit/runc/default/{id}")).expect("it can be looked for"));
    File::create(rig.world.scratch.join("go")).expect("the scratch is ours");
    rig.world.ctr(&["sandboxes", "rm", &id]).ok();
    assert_eq!(rig.world.ctr(&["sandboxes", "list"]).ok().lines().count(), 1);
}

/// containerd leaves such a shim running.
#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_knows_no_sandboxes_is_refused_and_ended() {
    let world = World::new(Shim::Containerds);
    let _manager = Manager::start_among_peers(&world.scratch);
    let id = world.id("s");
    let file = world.scratch.join("pod.json").display().to_string();
    fs::write(&file, json!({ "ociVersion": "1.0.2" }).to_string()).expect("the folder is ours");
    let run = ["sandboxes", "run", "--runtime", Shim::Containerds.runtime(), &file, &id];
    world.ctr(&run).code_is(1).says("containerd.runtime.sandbox.v1.Sandbox");
    wait::until_true("its shim has ended", 10, || world.shims(&id).is_empty());
}
