use std::time::Duration;

use davit_containerd_api::{
    any,
    events::{NamespaceDelete, TaskStart},
};
use davit_vocabulary::Namespace;

use super::*;
use crate::events::{EventBus, stamped};

fn namespace() -> Namespace {
    "n".parse().unwrap()
}

async fn start(recorder: &Recorder, pid: u32) {
    let event = TaskStart {
        container_id: "c".into(),
        pid,
    };
    let envelope = stamped(&namespace(), "/tasks/start", Some(any::pack(&event)));
    recorder.forward(envelope).await.unwrap();
}

fn recorder() -> (tempfile::TempDir, Recorder) {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&folder.path().join("events"), EventBus::new()).unwrap();
    (folder, recorder)
}

/// The numbers of the next events, up to this one.
async fn until(resumed: &mut Resumed, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        numbers.push(resumed.next().await.unwrap().sequence);
    }
    numbers
}

fn after(recorder: &Recorder, sequence: u64) -> Start {
    Start::After(Cursor {
        epoch: recorder.journal.epoch(),
        sequence,
    })
}

#[test]
fn a_start_is_a_cursor_or_now() {
    let epoch = "0123456789abcdef0123456789abcdef";
    assert_eq!("now".parse(), Ok(Start::Now));
    let Ok(Start::After(cursor)) = format!("{epoch}:12").parse() else {
        panic!("expected a cursor");
    };
    assert_eq!(cursor.to_string(), format!("{epoch}:12"));
    let too_large = format!("{epoch}:18446744073709551616");
    for bad in [
        "",
        "12",
        "0",
        ":",
        ":1",
        epoch,
        &format!("{epoch}:"),
        &format!("{epoch}:-1"),
        &format!("{epoch}:+1"),
        "x:1",
        &too_large,
    ] {
        let error = bad.parse::<Start>().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("invalid cursor {bad:?}: expected <epoch>:<sequence> or now")
        );
    }
}

#[tokio::test]
async fn what_was_missed_comes_first_and_what_comes_meanwhile_neither_twice_nor_never() {
    let (_folder, recorder) = recorder();
    for pid in 0..20 {
        start(&recorder, pid).await;
    }
    let (mut resumed, cursor) = recorder.resume(after(&recorder, 5)).unwrap();
    assert_eq!(cursor.sequence, 5);
    let meanwhile = async {
        for pid in 20..600 {
            start(&recorder, pid).await;
        }
    };
    let (numbers, ()) = tokio::join!(until(&mut resumed, 600), meanwhile);
    assert_eq!(numbers, (6..=600).collect::<Vec<_>>());
}

#[tokio::test]
async fn from_now_on_there_is_what_comes_and_what_is_not_of_tasks_has_no_number() {
    let (_folder, recorder) = recorder();
    start(&recorder, 1).await;
    let (mut resumed, cursor) = recorder.resume(Start::Now).unwrap();
    assert_eq!(cursor.sequence, 1);
    recorder.bus.publish(
        &namespace(),
        "/namespaces/delete",
        &NamespaceDelete { name: "n".into() },
    );
    start(&recorder, 2).await;
    assert_eq!(until(&mut resumed, 2).await, [0, 2]);
    let more = tokio::time::timeout(Duration::from_millis(20), resumed.next()).await;
    assert!(more.is_err(), "nothing is told twice");
}

#[tokio::test]
async fn a_slow_subscriber_goes_on_from_the_journal() {
    let (_folder, recorder) = recorder();
    let (mut resumed, _) = recorder.resume(Start::Now).unwrap();
    start(&recorder, 0).await;
    assert_eq!(until(&mut resumed, 1).await, [1]);
    let started = (1..10_000).map(|pid| {
        let recorder = recorder.clone();
        tokio::spawn(async move { start(&recorder, pid).await })
    });
    for started in started.collect::<Vec<_>>() {
        started.await.unwrap();
    }
    assert_eq!(until(&mut resumed, 10_000).await, (2..=10_000).collect::<Vec<_>>());
    start(&recorder, 0).await;
    assert_eq!(until(&mut resumed, 10_001).await, [10_001]);
}

#[tokio::test]
async fn a_cursor_of_another_epoch_or_ahead_of_the_journal_is_refused_with_the_oldest_that_is_not() {
    let (_folder, recorder) = recorder();
    start(&recorder, 1).await;
    let epoch = recorder.journal.epoch();
    let refusal = |start| match recorder.resume(start).err().unwrap() {
        error @ ResumeError::OutOfRange { oldest, .. } => {
            assert_eq!(oldest, Cursor { epoch, sequence: 0 });
            error.to_string()
        }
        error => panic!("{error}"),
    };
    assert_eq!(
        refusal(after(&recorder, 2)),
        format!("cannot resume after {epoch}:2: event 2 is not there yet, the last is 1")
    );
    let other = "0".repeat(32);
    assert_eq!(
        refusal(format!("{other}:1").parse().unwrap()),
        format!("cannot resume after {other}:1: the journal began anew, its oldest event is 1 of epoch {epoch}")
    );
}
