//! What the journal tells of one container, against what can be true of it.

use davit_containerd_api::{any, events::TaskExit, types::Envelope};
use davit_integration_tests::Manager;

use super::super::{journal::rest, subscriber::is_of};

/// The events of a container after the cursor: their topics, and where it is an exit whose and with which status.
///
/// Checks that each life of the task is told in order, and nothing twice.
#[track_caller]
pub fn told(manager: &Manager, cursor: &str, id: &str) -> Vec<Vec<String>> {
    let events: Vec<_> = rest(manager, cursor)
        .iter()
        .filter(|envelope| is_of(envelope, id))
        .map(|envelope| word(envelope, id))
        .collect();
    let mut lives: Vec<Vec<String>> = Vec::new();
    let mut is_over = true;
    for event in events {
        if is_over {
            lives.push(Vec::new());
        }
        is_over = event == "delete";
        lives.last_mut().expect("one was begun").push(event);
    }
    lives.iter().for_each(|life| check(life));
    lives
}

fn word(envelope: &Envelope, id: &str) -> String {
    let exit = envelope.event.as_ref().and_then(any::unpack::<TaskExit>);
    let topic = envelope.topic.trim_start_matches("/tasks/").to_owned();
    match exit {
        Some(Ok(exit)) if exit.id == id => format!("exit {}", exit.exit_status),
        Some(Ok(exit)) => format!("exit of {} {}", exit.id, exit.exit_status),
        _ => topic,
    }
}

/// What is told, as containerd does, of a task whose creation neither its shim nor its manager has outlived.
pub const NEVER_MADE: &[&str] = &["exit 137", "delete"];

/// Created, started, ended, removed, each once; an exec between start and end, and its end after its start.
#[track_caller]
fn check(life: &[String]) {
    if life == NEVER_MADE {
        return;
    }
    let at = |wanted: &str| {
        let matches =
            |(_, event): &(usize, &String)| event.split(' ').next() == Some(wanted) && !event.contains(" of ");
        let found: Vec<_> = life.iter().enumerate().filter(matches).map(|(at, _)| at).collect();
        assert!(found.len() <= 1, "{wanted} is told more than once: {life:?}");
        found.first().copied()
    };
    let order: Vec<_> = ["create", "start", "exit", "delete"]
        .into_iter()
        .filter_map(at)
        .collect();
    assert!(order.is_sorted(), "out of order: {life:?}");
    assert_eq!(at("create"), Some(0), "a life without its beginning: {life:?}");
    let execs: Vec<_> = life.iter().filter(|event| event.starts_with("exit of ")).collect();
    let started = life.iter().filter(|event| *event == "exec-started").count();
    assert!(execs.len() <= started, "an exec ends that was not started: {life:?}");
    if let Some(end) = at("exit") {
        assert_eq!(execs.len(), started, "the end of an exec is lost: {life:?}");
        let late = life[end..]
            .iter()
            .any(|event| event.starts_with("exec-") || event.starts_with("exit of "));
        assert!(!late, "after the end of the first process: {life:?}");
    }
}
