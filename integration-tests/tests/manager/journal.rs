//! A subscriber that was away learns from the journal what it has missed, each event once and in order, whoever was killed
//! meanwhile.

mod cursor;

use std::{
    fs, thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use davit_containerd_api::types::Envelope;
use davit_integration_tests::{Manager, Scratch, wait};
use nix::sys::signal::{Signal, kill};
use tokio::runtime::Runtime;

use super::subscriber::{self, Exit, Subscriber};
use crate::{Shim, World};

/// How long the manager may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn block_on<R>(work: impl Future<Output = R>) -> R {
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let work = async { tokio::time::timeout(PATIENCE, work).await };
    runtime.block_on(work).expect("in time")
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    now.as_secs() as i64
}

/// The cursor of this moment.
pub fn cursor_of_now(manager: &Manager) -> String {
    block_on(async {
        let subscriber = Subscriber::after(manager.socket(), "now").await;
        subscriber.expect("a subscription").cursor()
    })
}

fn resume(manager: &Manager, cursor: &str, count: usize) -> (Vec<Exit>, String) {
    block_on(async {
        let mut subscriber = Subscriber::after(manager.socket(), cursor).await.expect("a cursor");
        let exits = subscriber.exits(count).await;
        (exits, subscriber.cursor())
    })
}

/// All that is told of tasks after the cursor, at least what was journalled by now.
pub fn rest(manager: &Manager, cursor: &str) -> Vec<Envelope> {
    block_on(async {
        let now = Subscriber::after(manager.socket(), "now")
            .await
            .expect("a subscription");
        let subscriber = Subscriber::after(manager.socket(), cursor).await;
        subscriber.expect("a cursor").rest(now.seen).await
    })
}

/// Exactly these topics are told of one container after the cursor.
#[track_caller]
fn assert_topics(manager: &Manager, cursor: &str, container: &str, expected: &[&str]) {
    let events = block_on(async {
        let subscriber = Subscriber::after(manager.socket(), cursor).await;
        subscriber.expect("a cursor").events_of(container, expected.len()).await
    });
    let topics: Vec<_> = events.iter().map(|envelope| envelope.topic.as_str()).collect();
    assert_eq!(topics, expected);
}

/// Containers and the statuses with which they ended, sorted.
fn statuses(exits: &[Exit]) -> Vec<(String, u32)> {
    let mut statuses: Vec<_> = exits.iter().map(|exit| (exit.container.clone(), exit.status)).collect();
    statuses.sort();
    statuses
}

#[test]
fn a_subscriber_that_was_away_sees_each_of_fifty_exits_once_in_order_and_with_its_time() {
    let world = World::new(Shim::Ours);
    let manager = world.shim.manager(&world.scratch);
    let (cursor, before) = (cursor_of_now(&manager), now());
    let id = |number: u32| world.id(&format!("c{number:02}"));
    thread::scope(|scope| {
        for first in 0..5 {
            let (world, id) = (&world, &id);
            scope.spawn(move || {
                for number in (first..50).step_by(5) {
                    let run = world.run(&["--rm"], &id(number), &format!("exit {number}"));
                    run.code_is(number as i32);
                }
            });
        }
    });

    let (exits, end) = resume(&manager, &cursor, 50);

    let mut expected: Vec<_> = (0..50).map(|number| (id(number), number)).collect();
    expected.sort();
    assert_eq!(statuses(&exits), expected);
    for exit in &exits {
        assert!((before..=now()).contains(&exit.at), "{exit:?}");
    }
    let in_order = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_topics(&manager, &cursor, &id(7), &in_order);
    // One that has seen half of them gets the other half.
    let (half, middle) = resume(&manager, &cursor, 25);
    let (other, _) = resume(&manager, &middle, 25);
    assert_eq!([half, other].concat(), exits);
    assert!(
        rest(&manager, &end)
            .iter()
            .all(|envelope| subscriber::exit(envelope).is_none())
    );
    manager.stop();
}

#[test]
fn a_manager_killed_again_and_again_while_containers_end_tells_each_end_once() {
    let world = World::new(Shim::Ours);
    let mut manager = world.shim.manager(&world.scratch);
    let cursor = cursor_of_now(&manager);
    let mut expected = Vec::new();
    for number in 0..12 {
        let id = world.id(&format!("k{number:02}"));
        let seconds = 3.0 + 0.2 * f64::from(number);
        world
            .run(&["--detach"], &id, &format!("sleep {seconds}; exit {number}"))
            .ok();
        expected.push((id, number));
    }
    let (mut exits, middle) = resume(&manager, &cursor, 1);
    for _ in 0..4 {
        manager.kill();
        manager = world.shim.manager(&world.scratch);
    }
    let (more, end) = resume(&manager, &middle, expected.len() - 1);
    exits.extend(more);
    assert_eq!(statuses(&exits), expected);
    assert_eq!(rest(&manager, &end), []);
    for (id, _) in &expected {
        world.ctr(&["tasks", "rm", id]);
    }
    manager.stop();
}

/// Starts a manager that dies when it has journalled an event, before it tells anyone, and waits for that.
fn die_after_journalling(scratch: &Scratch) {
    let order = scratch.join("order");
    fs::write(&order, "manager.events.journalled").expect("the folder is ours");
    Manager::start_and_die(scratch, &order);
}

#[test]
fn an_end_whose_manager_died_between_storing_and_acknowledging_it_is_told_once() {
    let world = World::new(Shim::Ours);
    let manager = world.shim.manager(&world.scratch);
    let (id, cursor) = (world.id("once"), cursor_of_now(&manager));
    world.run(&["--detach"], &id, "sleep 3; exit 42").ok();
    // Else the start comes again, and the next manager dies of that.
    assert_topics(&manager, &cursor, &id, &["/tasks/create", "/tasks/start"]);
    manager.kill();
    die_after_journalling(&world.scratch);

    let manager = world.shim.manager(&world.scratch);

    let (mut events, text) = world.events("events");
    wait::until_true("who has no cursor is told, too", 10, || {
        let told = fs::read_to_string(&text).expect("the folder is ours");
        crate::topics_of(&told, &id) == ["/tasks/exit"]
    });
    let (exits, _) = resume(&manager, &cursor, 1);
    assert_eq!(statuses(&exits), [(id.clone(), 42)]);
    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit"];
    assert_topics(&manager, &cursor, &id, &expected);
    events.kill().expect("ctr runs");
    events.wait().expect("ctr is a child");
    world.ctr(&["tasks", "rm", &id]);
    manager.stop();
}

#[test]
fn an_end_that_was_told_is_not_told_again_when_its_shim_dies() {
    let world = World::new(Shim::Ours);
    let manager = world.shim.manager(&world.scratch);
    let cursor = cursor_of_now(&manager);
    let [ended, killed] = ["ended", "killed"].map(|name| world.id(name));
    world.run(&["--detach"], &ended, "exit 3").ok();
    world.run(&["--detach"], &killed, "sleep 600").ok();
    world.wait_for_status(&ended, "STOPPED");
    for pid in [world.shims(&ended), world.shims(&killed)].concat() {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    for id in [&ended, &killed] {
        world.wait_for_status(id, "");
        world.assert_nothing_is_left_of(id);
    }
    let (exits, _) = resume(&manager, &cursor, 2);
    assert_eq!(statuses(&exits), [(ended.clone(), 3), (killed.clone(), 137)]);
    for id in [&ended, &killed] {
        let expected = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
        assert_topics(&manager, &cursor, id, &expected);
    }
    manager.stop();
}

/// A shim dies while there is no manager; the one that tells it dies between storing and removing what it has told of.
#[test]
fn a_death_of_a_shim_whose_manager_died_while_telling_it_is_told_once() {
    let world = World::new(Shim::Ours);
    let manager = world.shim.manager(&world.scratch);
    let (id, cursor) = (world.id("dead"), cursor_of_now(&manager));
    world.run(&["--detach"], &id, "sleep 600").ok();
    manager.kill();
    for pid in world.shims(&id) {
        kill(pid, Signal::SIGKILL).expect("the shim runs");
    }
    die_after_journalling(&world.scratch);

    let manager = world.shim.manager(&world.scratch);

    let expected = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
    assert_topics(&manager, &cursor, &id, &expected);
    // It is told before its bundle is removed, and unknown until then.
    world.wait_for_status(&id, "");
    world.assert_nothing_is_left_of(&id);
    manager.stop();
}
