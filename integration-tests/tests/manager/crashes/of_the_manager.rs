//! The manager is killed at each of its steps, and the next one brings order.

use std::fs;

use davit_containerd_api::{types::Envelope, v1::types::Status as State};
use davit_integration_tests::wait;
use prost_types::{Any, Timestamp};

use super::{
    super::{journal::block_on, subscriber},
    Driver,
    calls::Client,
    case::{Case, Fault, Rig},
    fail_points, jobs, records, share_out,
};

const CREATED: Option<State> = Some(State::Created);
const RUNNING: Option<State> = Some(State::Running);
const STOPPED: Option<State> = Some(State::Stopped);

const DRIVERS: &[Driver<Case>] = &[
    ("manager.serve.", start),
    ("manager.serve.store-drafted", start_for_the_first_time),
    ("manager.store.", records::are_whole),
    ("manager.create.", create),
    ("manager.create.failed", fail_to_create),
    ("manager.create.strays-killed", fail_to_create),
    ("manager.create.strays-killed", find_a_start_cut_off),
    ("manager.create.cleaned-up", fail_to_create),
    ("manager.create.cleaned-up", find_a_start_cut_off),
    ("manager.start.", start_task),
    ("manager.start.", start_exec),
    ("manager.exec.", add_exec),
    ("manager.delete-exec.", delete_exec),
    ("manager.delete.", delete),
    ("manager.remove.", delete),
    ("manager.remove.", find_a_shim_dead),
    ("manager.death.", lose_a_shim),
    ("manager.death.", find_a_shim_dead),
    ("manager.restore.", find_a_shim_without_a_task),
    ("manager.journal.", hear_of_a_start),
    ("manager.journal.segment-made", hear_of_a_start_after_much),
    ("manager.events.", hear_of_a_start),
    ("manager.restart.", restart),
];

/// Points that only a manager with criu comes to: see [`super::checkpoints`].
pub const WITH_CRIU: [&str; 2] = ["manager.checkpoint.", "manager.create.checkpoint-"];

#[test]
fn a_manager_that_is_killed_at_any_step_is_followed_by_one_that_brings_order() {
    let mut points = fail_points(&["containerd"], "manager.");
    points.retain(|point| !WITH_CRIU.iter().any(|prefix| point.starts_with(prefix)));
    share_out(jobs(points, DRIVERS), |next| Rig::new().work(Fault::Shim, next));
}

fn start(case: &mut Case) {
    // The names of others must not be in the name of one.
    let running = case.id.replacen('p', "q", 1);
    case.client().run(&running, "sleep 600");
    case.manager_is_killed();
    case.die_at_start();
    assert_eq!(case.client().state(&running, ""), RUNNING);
    case.client().end(&running);
    case.client().delete_container(&running).expect("a record");
    case.converges(&[None], &[&[]]);
}

fn start_for_the_first_time(case: &mut Case) {
    case.manager_is_killed();
    fs::remove_dir_all(case.rig.world.scratch.join("croot")).expect("the folder is ours");
    case.die_at_start();
    case.begins_anew();
    case.converges(&[None], &[&[]]);
}

fn create(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.die_of(|client| client.create(&id).unwrap_err());
    case.converges(&[None, CREATED], &[&[], &["create", "exit 137", "delete"]]);
}

/// The program fails that should have started a shim.
fn fail_to_create(case: &mut Case) {
    let client = Client {
        runtime: "/bin/false".into(),
        ..case.client()
    };
    let container = client.container(&case.id, "true");
    client.create_container(container).expect("a record");
    let id = case.id.clone();
    case.die_of(|client| client.create(&id).unwrap_err());
    case.converges(&[None], &[&[]]);
}

fn find_a_start_cut_off(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.die_of_at("manager.create.shim-started", |client| client.create(&id).unwrap_err());
    case.die_at_start();
    case.converges(&[None], &[&[]]);
}

fn find_a_shim_without_a_task(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.die_of_at("manager.create.endpoint-noted", |client| {
        client.create(&id).unwrap_err()
    });
    case.die_at_start();
    case.converges(&[None], &[&[]]);
}

fn start_task(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.client().create(&id).expect("create");
    case.die_of(|client| client.start(&id, "").unwrap_err());
    case.converges(&[RUNNING], &[&["create", "start", "exit 137", "delete"]]);
}

fn add_exec(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, "sleep 600");
    case.die_of(|client| client.exec(&id, "e", "exit 3").unwrap_err());
    assert_eq!(case.client().state(&id, "e"), CREATED);
    run_exec(&case.client(), &id);
    case.converges(
        &[RUNNING],
        &[&[
            "create",
            "start",
            "exec-added",
            "exec-started",
            "exit of e 3",
            "exit 137",
            "delete",
        ]],
    );
}

fn start_exec(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, "sleep 600");
    case.client().exec(&id, "e", "exit 3").expect("exec");
    case.die_of(|client| client.start(&id, "e").unwrap_err());
    let client = case.client();
    assert_eq!(client.wait(&id, "e").expect("wait"), 3);
    assert_eq!(client.delete_exec(&id, "e").expect("delete"), 3);
    case.converges(
        &[RUNNING],
        &[&[
            "create",
            "start",
            "exec-added",
            "exec-started",
            "exit of e 3",
            "exit 137",
            "delete",
        ]],
    );
}

fn delete_exec(case: &mut Case) {
    let id = case.id.clone();
    let client = case.client();
    client.run(&id, "sleep 600");
    client.exec(&id, "e", "exit 3").expect("exec");
    client.start(&id, "e").expect("start");
    assert_eq!(client.wait(&id, "e").expect("wait"), 3);
    case.die_of(|client| client.delete_exec(&id, "e").unwrap_err());
    let client = case.client();
    assert_eq!(client.state(&id, "e"), None);
    // Its id is free.
    client.exec(&id, "e", "exit 3").expect("exec");
    run_exec(&client, &id);
    case.converges(
        &[RUNNING],
        &[&[
            "create",
            "start",
            "exec-added",
            "exec-started",
            "exit of e 3",
            "exec-added",
            "exec-started",
            "exit of e 3",
            "exit 137",
            "delete",
        ]],
    );
}

fn run_exec(client: &Client<'_>, id: &str) {
    client.start(id, "e").expect("start");
    assert_eq!(client.wait(id, "e").expect("wait"), 3);
    assert_eq!(client.delete_exec(id, "e").expect("delete"), 3);
}

fn delete(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, "exit 5");
    case.client().wait_for(&id, STOPPED);
    // It may be answered before the bundle is removed.
    case.die_of(|client| drop(client.delete(&id)));
    case.converges(&[None], &[&["create", "start", "exit 5", "delete"]]);
}

fn lose_a_shim(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, "sleep 600");
    case.arm(&case.point);
    case.shim_is_killed();
    case.die_of(|_| ());
    case.converges(&[None], &[&["create", "start", "exit 137", "delete"]]);
}

/// Of one whose exit it has recorded.
fn find_a_shim_dead(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, "exit 5");
    case.client().wait_for(&id, STOPPED);
    case.manager_is_killed();
    case.shim_is_killed();
    case.die_at_start();
    case.converges(&[None], &[&["create", "start", "exit 5", "delete"]]);
}

fn hear_of_a_start(case: &mut Case) {
    hear_of_a_start_after(case, 0);
}

fn hear_of_a_start_after_much(case: &mut Case) {
    hear_of_a_start_after(case, 4);
}

/// The start is heard of after so many MiB; of four the first segment is full.
fn hear_of_a_start_after(case: &mut Case, much: i64) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.client().create(&id).expect("create");
    // Else it dies of the creation.
    case.wait_until_told("create");
    for second in 0..much {
        let large = Envelope {
            timestamp: Some(Timestamp {
                seconds: second,
                nanos: 0,
            }),
            namespace: "default".into(),
            topic: "/tasks/large".into(),
            event: Some(Any {
                type_url: "example.Large".into(),
                value: vec![7; 1 << 20],
            }),
            sequence: 0,
        };
        block_on(subscriber::forward(case.manager().socket(), large));
    }
    case.die_of(|client| drop(client.start(&id, "")));
    case.converges(&[RUNNING], &[&["create", "start", "exit 137", "delete"]]);
}

fn restart(case: &mut Case) {
    let id = case.id.clone();
    let root = case.rig.world.scratch.join("rootfs");
    let runs = || fs::read_to_string(root.join(&id)).unwrap_or_default().lines().count();
    let labels = [
        ("containerd.io/restart.status", "running"),
        ("containerd.io/restart.policy", "on-failure:1"),
    ];
    let script = format!(
        "echo run >>/{id}; [ $(wc -l </{id}) -lt 2 ] || exec sleep 600; until [ -e /{id}.end ]; do sleep 0.05; done; exit 3"
    );
    let client = case.client();
    client
        .create_container(client.container_in(root.to_str().expect("ASCII"), &id, &script, &labels))
        .expect("a record");
    client.create(&id).expect("create");
    client.start(&id, "").expect("start");
    let end = root.join(format!("{id}.end"));
    case.die_of(|_| fs::write(end, "").expect("the root is ours"));
    wait::until_true(&format!("it runs again after {}", case.point), 30, || {
        runs() == 2 && case.client().state(&id, "") == RUNNING
    });
    // Without its record it is nobody's to restart.
    case.client().delete_container(&id).expect("a record");
    case.client().end(&id);
    case.converges_anew();
}

fn record(case: &Case, script: &str) {
    let client = case.client();
    client
        .create_container(client.container(&case.id, script))
        .expect("a record");
}
