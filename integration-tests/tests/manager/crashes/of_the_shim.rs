//! A shim is killed at each of its steps: who called hears of it, and what has happened is told. Under a manager that goes on, and
//! with its manager, as by somebody who kills all that is ours.

use davit_containerd_api::v1::types::Status as State;

use super::{
    Driver,
    case::{Case, Fault, Rig},
    fail_points, jobs, share_out,
    told::NEVER_MADE,
};

const STOPPED: Option<State> = Some(State::Stopped);

const DRIVERS: &[Driver<Case>] = &[
    ("shim.spawn.", create),
    ("shim.serve.begun", create),
    ("shim.create.", create),
    ("shim.create.", create_in_a_group),
    ("shim.start.", start),
    ("shim.exec.", add_exec),
    ("shim.start-exec.", start_exec),
    ("shim.exec-exit.", end_exec),
    ("shim.delete-exec.", delete_exec),
    ("shim.exit.", end),
    ("shim.events.", be_heard),
    ("shim.delete.", delete),
    ("shim.shutdown.", delete),
    ("shim.serve.unbound", delete),
    ("shim.cleanup.", be_cleaned_up_after),
    ("shim.cleanup.", be_cleaned_up_after_in_a_pause),
];

/// Points that only a shim with criu comes to: see [`super::checkpoints`].
pub const WITH_CRIU: [&str; 2] = ["shim.checkpoint.", "shim.restore."];

#[test]
fn a_shim_that_is_killed_at_any_step_leaves_nothing_and_its_end_is_told() {
    at_every_step(Fault::Shim);
}

#[test]
fn a_shim_that_is_killed_at_any_step_with_its_manager_is_cleaned_up_after_by_the_next() {
    at_every_step(Fault::Both);
}

/// The manager is killed while it writes an event down or passes it on, and then the shim that waits for its word.
#[test]
fn what_is_being_told_when_manager_and_shim_die_is_told_once() {
    let mut points = fail_points(&["containerd"], "manager.events.");
    points.extend(fail_points(&["containerd"], "manager.journal.written"));
    share_out(jobs(points, &[("manager.", be_told_to_start)]), |next| {
        Rig::new().work(Fault::Both, next)
    });
}

fn be_told_to_start(case: &mut Case) {
    record(case, "sleep 600");
    case.client().create(&case.id).expect("create");
    // Else it dies of the creation.
    case.wait_until_told("create");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| drop(client.start(&id, "")));
    case.converges(&[None], &[&["create", "start", "exit 137", "delete"]]);
}

#[test]
fn a_shim_that_hangs_when_it_shall_end_is_killed() {
    let points = fail_points(&["shim"], "shim.shutdown.");
    share_out(jobs(points, &[("shim.shutdown.", hang)]), |next| {
        Rig::new().work(Fault::Shim, next)
    });
}

fn hang(case: &mut Case) {
    let client = case.client();
    client.run(&case.id, "exit 5");
    client.wait_for(&case.id, STOPPED);
    case.arm(&format!("{}:stop", case.point));
    assert_eq!(client.delete(&case.id).expect("it has ended"), 5);
    case.converges(&[None], &[&["create", "start", "exit 5", "delete"]]);
}

fn at_every_step(fault: Fault) {
    let mut points = fail_points(&["shim"], "shim.");
    points.retain(|point| !WITH_CRIU.iter().any(|prefix| point.starts_with(prefix)));
    share_out(jobs(points, DRIVERS), |next| Rig::new().work(fault, next));
}

fn create(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| client.create(&id).unwrap_err());
    case.converges(&[None], lives_of_a_creation(case));
}

/// Of a creation that its manager has not outlived, an end is told where the shim was known already.
fn lives_of_a_creation(case: &Case) -> &'static [&'static [&'static str]] {
    match case.has_manager() {
        true => &[&[], &["create", "exit 137", "delete"]],
        false => &[&[], &["create", "exit 137", "delete"], NEVER_MADE],
    }
}

/// A container that shares the shim ends with it.
fn create_in_a_group(case: &mut Case) {
    let client = case.client();
    let other = case.id.replacen('p', "q", 1);
    for id in [&other, &case.id] {
        let container = client.container_of_group(&other, id, "sleep 600");
        client.create_container(container).expect("a record");
    }
    client.create(&other).expect("create");
    client.start(&other, "").expect("start");
    let id = case.id.clone();
    case.lose_the_shim_of(&other, |client| client.create(&id).unwrap_err());
    let client = case.client();
    client.wait_for(&other, None);
    case.is_told_of(&other, &["create", "start", "exit 137", "delete"]);
    client.delete_container(&other).expect("its record is removed");
    case.converges(&[None], lives_of_a_creation(case));
}

fn start(case: &mut Case) {
    record(case, "sleep 600");
    case.client().create(&case.id).expect("create");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| client.start(&id, "").unwrap_err());
    case.converges(
        &[None],
        &[
            &["create", "exit 137", "delete"],
            &["create", "start", "exit 137", "delete"],
        ],
    );
}

fn add_exec(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| client.exec(&id, "e", "exit 3").unwrap_err());
    case.converges(
        &[None],
        &[
            &["create", "start", "exit 137", "delete"],
            &["create", "start", "exec-added", "exit 137", "delete"],
        ],
    );
}

fn start_exec(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.client().exec(&case.id, "e", "sleep 600").expect("exec");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| client.start(&id, "e").unwrap_err());
    case.converges(
        &[None],
        &[
            &["create", "start", "exec-added", "exit 137", "delete"],
            &with_exec("exit of e 137"),
        ],
    );
}

fn end_exec(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.client().exec(&case.id, "e", "exit 3").expect("exec");
    let id = case.id.clone();
    // It may die before it answers.
    case.lose_the_shim_by(|client| drop(client.start(&id, "e")));
    let exit = match case.point.as_str() {
        "shim.exec-exit.seen" => "exit of e 255",
        _ => "exit of e 3",
    };
    case.converges(&[None], &[&with_exec(exit)]);
}

fn delete_exec(case: &mut Case) {
    let client = case.client();
    client.run(&case.id, "sleep 600");
    client.exec(&case.id, "e", "exit 3").expect("exec");
    client.start(&case.id, "e").expect("start");
    assert_eq!(client.wait(&case.id, "e").expect("wait"), 3);
    let id = case.id.clone();
    case.lose_the_shim_by(|client| client.delete_exec(&id, "e").unwrap_err());
    case.converges(&[None], &[&with_exec("exit of e 3")]);
}

fn with_exec(exit: &'static str) -> [&'static str; 7] {
    [
        "create",
        "start",
        "exec-added",
        "exec-started",
        exit,
        "exit 137",
        "delete",
    ]
}

/// Nobody can say how a process has ended whose exit nobody has lived to record.
fn end(case: &mut Case) {
    record(case, "exit 5");
    case.client().create(&case.id).expect("create");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| drop(client.start(&id, "")));
    let exit = match case.point.as_str() {
        "shim.exit.seen" | "shim.exit.drafted" => "exit 255",
        _ => "exit 5",
    };
    case.converges(
        &[None],
        &[&["create", "start", exit, "delete"], &["create", exit, "delete"]],
    );
}

fn be_heard(case: &mut Case) {
    record(case, "sleep 600");
    let id = case.id.clone();
    case.lose_the_shim_by(|client| drop(client.create(&id)));
    case.converges(&[None], &[&["create", "exit 137", "delete"]]);
}

fn delete(case: &mut Case) {
    let client = case.client();
    client.run(&case.id, "exit 5");
    client.wait_for(&case.id, STOPPED);
    let (id, has_manager) = (case.id.clone(), case.has_manager());
    case.lose_the_shim_by(|client| {
        let deleted = client.delete(&id);
        assert!(
            !has_manager || deleted.as_ref().is_ok_and(|status| *status == 5),
            "{deleted:?}"
        );
    });
    case.converges(&[None], &[&["create", "start", "exit 5", "delete"]]);
}

/// A cleaning up that is killed is begun again.
fn be_cleaned_up_after(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    lose_the_cleaning_up(case);
    case.converges(&[None], &[&["create", "start", "exit 137", "delete"]]);
}

/// What is frozen does not end before it is thawed.
fn be_cleaned_up_after_in_a_pause(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.client().pause(&case.id).expect("pause");
    lose_the_cleaning_up(case);
    case.converges(&[None], &[&["create", "start", "paused", "exit 137", "delete"]]);
}

fn lose_the_cleaning_up(case: &mut Case) {
    let shims = case.rig.world.shims(&case.id);
    case.lose_the_shim_by(|_| {
        for pid in shims {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the shim runs");
        }
    });
}

fn record(case: &Case, script: &str) {
    let client = case.client();
    let container = client.container(&case.id, script);
    client.create_container(container).expect("a record");
}
