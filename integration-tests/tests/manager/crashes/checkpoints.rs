//! The manager, or a shim, is killed at the steps of a checkpoint and of what is made from one. Needs criu.

use davit_containerd_api::v1::types::Status as State;
use davit_integration_tests::{criu, wait};

use super::{
    Driver,
    case::{Case, Fault, Rig},
    fail_points, jobs, of_the_manager, of_the_shim, share_out,
};

const RUNNING: Option<State> = Some(State::Running);

const DRIVERS: &[Driver<Case>] = &[
    ("manager.checkpoint.", lose_the_manager_of_a_checkpoint),
    ("manager.create.checkpoint-", lose_the_manager_of_a_creation),
    ("shim.checkpoint.", lose_the_shim_of_a_checkpoint),
    ("shim.restore.", lose_the_shim_of_a_restoration),
];

/// No open file: criu refuses one that has changed.
const LOOP: &str = "while true; do sleep 0.1; done";

#[test]
fn whoever_is_killed_at_a_step_of_a_checkpoint_can_be_followed_by_another_try() {
    if !criu::works_among_peers() {
        return;
    }
    let mut points = fail_points(&["containerd", "shim"], "");
    let needs_criu = [&of_the_manager::WITH_CRIU[..], &of_the_shim::WITH_CRIU].concat();
    points.retain(|point| needs_criu.iter().any(|prefix| point.starts_with(prefix)));
    share_out(jobs(points, DRIVERS), |next| Rig::among_peers().work(Fault::Shim, next));
}

/// criu goes on for a moment.
fn lose_the_manager_of_a_checkpoint(case: &mut Case) {
    let id = case.id.clone();
    case.client().run(&id, LOOP);
    case.die_of(|client| client.checkpoint(&id).unwrap_err());
    assert_eq!(case.client().state(&id, ""), RUNNING);
    let again = wait::until("it is written down", 20, || case.client().checkpoint(&id).ok());
    assert!(again.size > 0);
    // As often as it was dumped, which may be once or twice.
    let dumps: [&[&str]; 3] = [
        &["create", "start", "checkpointed", "exit 137", "delete"],
        &["create", "start", "checkpointed", "checkpointed", "exit 137", "delete"],
        &[
            "create",
            "start",
            "checkpointed",
            "checkpointed",
            "checkpointed",
            "exit 137",
            "delete",
        ],
    ];
    case.converges(&[RUNNING], &dumps);
}

fn lose_the_manager_of_a_creation(case: &mut Case) {
    let (archive, id) = (written_down(case), case.id.clone());
    let client = case.client();
    client.create_container(client.container(&id, LOOP)).expect("a record");
    case.die_of(|client| client.create_from(&id, Some(archive.clone())).unwrap_err());
    case.client().create_from(&id, Some(archive)).expect("create");
    case.client().start(&id, "").expect("it is restored");
    case.converges(&[RUNNING], &[&["create", "start", "exit 137", "delete"]]);
}

fn lose_the_shim_of_a_checkpoint(case: &mut Case) {
    case.client().run(&case.id, LOOP);
    case.arm(&case.point);
    case.client().checkpoint(&case.id).unwrap_err();
    case.client().wait_for(&case.id, None);
    case.converges(&[None], &[&["create", "start", "exit 137", "delete"]]);
}

fn lose_the_shim_of_a_restoration(case: &mut Case) {
    let (archive, id) = (written_down(case), case.id.clone());
    let client = case.client();
    client.create_container(client.container(&id, LOOP)).expect("a record");
    client.create_from(&id, Some(archive)).expect("create");
    case.arm(&case.point);
    client.start(&id, "").unwrap_err();
    client.wait_for(&id, None);
    case.converges(&[None], &[&["create", "exit 137", "delete"]]);
}

/// The archive of another task's state.
fn written_down(case: &Case) -> davit_containerd_api::types::Descriptor {
    let (client, other) = (case.client(), case.id.replacen('p', "q", 1));
    client.run(&other, LOOP);
    let archive = client.checkpoint(&other).expect("a checkpoint");
    client.end(&other);
    client.delete_container(&other).expect("its record is removed");
    archive
}
