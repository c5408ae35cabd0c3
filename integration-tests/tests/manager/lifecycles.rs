//! Many containers that come and go at the same time: every event is told, once and in its order, and nothing is left.

use std::{collections::BTreeMap, env, fs, path::Path, time::Duration};

use davit_containerd_api::{
    any,
    events::{TaskCreate, TaskDelete, TaskStart},
    services::{
        containers::v1::{
            Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest,
            containers_client::ContainersClient,
        },
        tasks::v1::{
            CreateTaskRequest, DeleteTaskRequest, KillRequest, StartRequest, WaitRequest, tasks_client::TasksClient,
        },
    },
    types::{Envelope, Mount},
};
use davit_integration_tests::{sweep, wait};
use tokio::{task::JoinSet, time};
use tonic::{Request, Status, service::interceptor::InterceptedService, transport::Channel};

use super::{
    channel,
    subscriber::{self, Subscriber},
};
use crate::{Shim, World};

type Intercepted = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// At the same time.
const WORKERS: usize = 16;
const SIGKILL: u32 = 9;
/// What is told of each, in this order.
const LIFE: [&str; 4] = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];

/// How many containers come and go; `cargo xtask soak` asks for 1,000.
fn lives() -> usize {
    env::var("DAVIT_LIVES").map_or(48, |count| count.parse().expect("a number"))
}

#[test]
fn containers_that_come_and_go_beside_each_other_tell_everything_and_leave_nothing() {
    let world = World::new(Shim::Ours);
    let manager = world.shim.manager(&world.scratch);
    let template = world.id("template");
    let root = world.root.to_str().expect("ASCII");
    let create = ["containers", "create", "--runtime", world.shim.runtime(), "--rootfs"];
    let program = [root, &template, "/bin/sleep", "86400"];
    world.ctr(&[&create[..], &program].concat()).ok();

    let told = runtime().block_on(async {
        let channel = channel::to(manager.socket()).await;
        let mut subscriber = Subscriber::after(manager.socket(), "now")
            .await
            .expect("a subscription");
        let collecting = tokio::spawn(async move {
            let mut told = Vec::new();
            while told.len() < lives() * LIFE.len() {
                told.push(subscriber.next().await);
            }
            told.extend(subscriber.rest(subscriber.seen).await);
            told
        });
        live(&world, channel, &template).await;
        let limit = Duration::from_secs(60);
        time::timeout(limit, collecting)
            .await
            .expect("every event comes")
            .expect("no panic")
    });

    assert_each_life_is_told_whole(&told);
    world.ctr(&["containers", "rm", &template]).ok();
    assert_eq!(world.ctr(&["containers", "list", "--quiet"]).ok(), "");
    assert_eq!(world.ctr(&["tasks", "list", "--quiet"]).ok(), "");
    assert_nothing_is_left(&world, manager.pid());
    manager.stop();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// All the lives, so many at a time.
async fn live(world: &World, channel: Channel, template: &str) {
    let with_namespace = channel::in_the_namespace as fn(_) -> _;
    let mut containers = ContainersClient::with_interceptor(channel.clone(), with_namespace);
    let id = template.to_owned();
    let answer = containers.get(GetContainerRequest { id }).await.expect("it was made");
    let template = answer.into_inner().container.expect("a container");
    let root = world.root.to_str().expect("ASCII").to_owned();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (containers, template, root) = (containers.clone(), template.clone(), root.clone());
        let tasks = TasksClient::with_interceptor(channel.clone(), with_namespace);
        let ids: Vec<_> = (worker..lives())
            .step_by(WORKERS)
            .map(|number| world.id(&format!("life{number}")))
            .collect();
        workers.spawn(async move {
            for id in ids {
                let (mut containers, mut tasks) = (containers.clone(), tasks.clone());
                one_life(&mut containers, &mut tasks, &template, &root, &id).await;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker does not panic");
    }
}

async fn one_life(
    containers: &mut ContainersClient<Intercepted>,
    tasks: &mut TasksClient<Intercepted>,
    template: &Container,
    root: &str,
    id: &str,
) {
    let container_id = || id.to_owned();
    let container = Some(named(template.clone(), id));
    let created = containers.create(CreateContainerRequest { container }).await;
    created.unwrap_or_else(|error| panic!("{id}: {error}"));
    let create = CreateTaskRequest {
        container_id: container_id(),
        rootfs: vec![bind(root)],
        ..Default::default()
    };
    let created = tasks.create(create).await;
    let pid = created.unwrap_or_else(|error| panic!("{id}: {error}")).into_inner().pid;
    let start = StartRequest {
        container_id: container_id(),
        ..Default::default()
    };
    let started = tasks.start(start).await;
    let started = started.unwrap_or_else(|error| panic!("{id}: {error}")).into_inner();
    assert_eq!(started.pid, pid, "{id}");
    let kill = KillRequest {
        container_id: container_id(),
        signal: SIGKILL,
        ..Default::default()
    };
    tasks.kill(kill).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    let wait = WaitRequest {
        container_id: container_id(),
        ..Default::default()
    };
    let ended = tasks.wait(wait).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(ended.into_inner().exit_status, 128 + SIGKILL, "{id}");
    let deleted = tasks
        .delete(DeleteTaskRequest {
            container_id: container_id(),
        })
        .await;
    let deleted = deleted.unwrap_or_else(|error| panic!("{id}: {error}")).into_inner();
    assert_eq!(deleted.exit_status, 128 + SIGKILL, "{id}");
    let removed = containers.delete(DeleteContainerRequest { id: container_id() }).await;
    removed.unwrap_or_else(|error| panic!("{id}: {error}"));
}

/// The template as another container, with a cgroup of its own and the root file system that its task is given.
fn named(mut template: Container, id: &str) -> Container {
    let spec = template.spec.as_mut().expect("ctr writes a spec");
    let mut json: serde_json::Value = serde_json::from_slice(&spec.value).expect("JSON");
    json["linux"]["cgroupsPath"] = format!("/default/{id}").into();
    json["root"]["path"] = "rootfs".into();
    spec.value = json.to_string().into_bytes();
    id.clone_into(&mut template.id);
    template
}

fn bind(source: &str) -> Mount {
    Mount {
        r#type: "bind".into(),
        source: source.into(),
        options: vec!["rbind".into(), "rw".into()],
        ..Default::default()
    }
}

fn assert_each_life_is_told_whole(told: &[Envelope]) {
    let mut lives_told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for envelope in told {
        lives_told
            .entry(container_of(envelope))
            .or_default()
            .push(&envelope.topic);
    }
    for (id, topics) in &lives_told {
        assert_eq!(topics, &LIFE, "{id}");
    }
    assert_eq!(lives_told.len(), lives());
}

fn container_of(envelope: &Envelope) -> String {
    let event = envelope.event.as_ref().expect("an event");
    if let Some(exit) = subscriber::exit(envelope) {
        return exit.container;
    }
    let create = any::unpack::<TaskCreate>(event).map(|create| create.map(|create| create.container_id));
    let start = any::unpack::<TaskStart>(event).map(|start| start.map(|start| start.container_id));
    let delete = any::unpack::<TaskDelete>(event).map(|delete| delete.map(|delete| delete.container_id));
    let id = create.or(start).or(delete);
    id.unwrap_or_else(|| panic!("{}", envelope.topic))
        .expect("a whole message")
}

/// No process, mount, cgroup, file or socket.
fn assert_nothing_is_left(world: &World, manager: u32) {
    let scratch = world.scratch.path();
    wait::until_true("every shim has ended", 20, || {
        sweep::processes_of(scratch, &[]).iter().all(|pid| *pid == manager)
    });
    assert_eq!(sweep::mounts_below(scratch), Vec::<std::path::PathBuf>::new());
    assert_eq!(sweep::cgroups_named_after(scratch), Vec::<std::path::PathBuf>::new());
    let bundles = ["cstate", "croot"].map(|folder| scratch.join(folder).join("io.containerd.runtime.v2.task/default"));
    let [state, root] = &bundles;
    for folder in [
        state,
        root,
        &scratch.join("cstate/s"),
        Path::new("/run/davit/runc/default"),
    ] {
        let suffix = world.id("");
        // The runtime's folder holds containers of other tests, too. A socket's name says nothing, but the folder is ours.
        let is_ours = |name: &str| folder.starts_with(scratch) || name.ends_with(&suffix);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let left: Vec<_> = names.filter(|name| is_ours(name)).collect();
        assert_eq!(left, Vec::<String>::new(), "{}", folder.display());
    }
}
