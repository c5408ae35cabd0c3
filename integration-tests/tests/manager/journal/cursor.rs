//! What a subscriber with a cursor is told and what it is refused; and that one who knows nothing of cursors gets what
//! containerd sends.

use std::{fs, path::Path, time::Duration};

use davit_containerd_api::{
    any,
    events::{TaskExit, TaskOom},
    types::Envelope,
};
use davit_integration_tests::{Containerd, Manager, Scratch, wait};
use tonic::Code;

use super::{assert_topics, block_on, cursor_of_now, rest};
use crate::manager::subscriber::{self, Subscriber};

/// An event as a shim would forward it.
fn event(topic: &str, seconds: i64, event: Option<prost_types::Any>) -> Envelope {
    Envelope {
        timestamp: Some(prost_types::Timestamp { seconds, nanos: 5 }),
        namespace: "default".into(),
        topic: topic.into(),
        event,
        sequence: 0,
    }
}

fn oom(container_id: &str, seconds: i64) -> Envelope {
    let oom = TaskOom {
        container_id: container_id.into(),
    };
    event("/tasks/oom", seconds, Some(any::pack(&oom)))
}

#[test]
fn an_event_that_is_forwarded_twice_is_told_once() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    let cursor = cursor_of_now(&manager);
    let published = block_on(async {
        let (_, mut plain) = subscriber::plain(manager.socket()).await;
        for envelope in [oom("c", 1), oom("c", 1), oom("c", 2), oom("c", 1), oom("c", 3)] {
            subscriber::forward(manager.socket(), envelope).await;
        }
        let mut published = Vec::new();
        while published.last() != Some(&oom("c", 3)) {
            published.push(plain.message().await.expect("a stream").expect("an event"));
        }
        published
    });
    assert_eq!(published, [oom("c", 1), oom("c", 2), oom("c", 3)]);
    manager.kill();
    let manager = Manager::start(&scratch);
    block_on(async {
        for envelope in [oom("c", 3), oom("c", 1), oom("c", 4)] {
            subscriber::forward(manager.socket(), envelope).await;
        }
    });
    let told: Vec<_> = rest(&manager, &cursor)
        .into_iter()
        .map(|envelope| envelope.sequence)
        .collect();
    assert_eq!(told, [1, 2, 3, 4]);
    manager.stop();
}

#[test]
fn a_cursor_that_cannot_be_resumed_from_is_refused_by_name() {
    let scratch = Scratch::new();
    let manager = Manager::start(&scratch);
    let refused = |cursor: &str| {
        let status = block_on(Subscriber::after(manager.socket(), cursor)).err();
        status.unwrap_or_else(|| panic!("{cursor} is taken"))
    };
    for bad in ["", "5", "x:5", "yesterday", ":", &"9".repeat(1000)] {
        let status = refused(bad);
        assert_eq!(status.code(), Code::InvalidArgument, "{bad}");
        let start: String = bad.chars().take(200).collect();
        let words = format!("davit-events-after: invalid cursor {start:?}: expected <epoch>:<sequence> or now");
        assert!(status.message().starts_with(&words), "{status:?}");
    }
    let cursor = cursor_of_now(&manager);
    let epoch = cursor.split(':').next().expect("a cursor");
    assert_eq!(
        (refused(&format!("{epoch}:7")).code(), cursor.as_str()),
        (Code::OutOfRange, format!("{epoch}:0").as_str())
    );
    let other = refused(&format!("{}:0", "0".repeat(32)));
    assert_eq!(other.code(), Code::OutOfRange);
    assert!(other.message().contains(epoch), "{other:?}");

    // More than the journal holds.
    let large = prost_types::Any {
        type_url: "example.Large".into(),
        value: vec![7; 2 << 20],
    };
    block_on(async {
        for seconds in 0..24 {
            subscriber::forward(manager.socket(), event("/tasks/large", seconds, Some(large.clone()))).await;
        }
    });
    let status = refused(&cursor);
    assert_eq!(status.code(), Code::OutOfRange);
    let oldest = subscriber::cursor_in(status.metadata()).expect("the oldest cursor that can be resumed from");
    let number: u64 = oldest
        .rsplit(':')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("a number");
    let words = format!("events after 0 are not held any more, the oldest is {}", number + 1);
    assert!(status.message().ends_with(&words), "{status:?}");
    let held = rest(&manager, oldest).len() as u64;
    assert_eq!((held, number), (24 - number, 24 - held));
    let size: u64 = files_of(&scratch.join("croot/events"));
    assert!((32 << 20..48 << 20).contains(&size), "{size}");
    manager.stop();
}

fn files_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries.map(|entry| entry.metadata().expect("a file").len()).sum()
}

#[test]
fn a_manager_whose_journal_is_damaged_or_gone_starts_and_says_so_to_who_comes_with_a_cursor() {
    let scratch = Scratch::new();
    let journal = scratch.join("croot/events");
    let damage = || {
        let file = journal.join(format!("{:020}.log", 1));
        let mut bytes = fs::read(&file).expect("a segment");
        *bytes.last_mut().expect("an event") ^= 1;
        fs::write(&file, bytes).expect("the folder is ours");
    };
    let remove = || fs::remove_dir_all(&journal).expect("the folder is ours");
    for loss in [&damage as &dyn Fn(), &remove] {
        let manager = Manager::start(&scratch);
        let cursor = cursor_of_now(&manager);
        block_on(subscriber::forward(manager.socket(), oom("c", 1)));
        manager.stop();
        loss();
        let manager = Manager::start(&scratch);
        let status = block_on(Subscriber::after(manager.socket(), &cursor))
            .err()
            .expect("a refusal");
        assert_eq!(status.code(), Code::OutOfRange);
        assert!(status.message().contains("the journal began anew"), "{status:?}");
        block_on(subscriber::forward(manager.socket(), oom("c", 1)));
        let oldest = subscriber::cursor_in(status.metadata()).expect("a cursor");
        assert_topics(&manager, oldest, "c", &["/tasks/oom"]);
        manager.stop();
    }
}

/// What a client that knows nothing of cursors gets of one event: the answer's headers, the event's bytes, and the line that
/// `ctr events` prints.
fn told_to_a_plain_client(scratch: &Scratch, socket: &Path) -> (Vec<String>, Envelope, String) {
    let exit = TaskExit {
        container_id: "c".into(),
        id: "c".into(),
        pid: 7,
        exit_status: 3,
        exited_at: Some(prost_types::Timestamp { seconds: 9, nanos: 8 }),
    };
    let sent = event("/tasks/exit", 10, Some(any::pack(&exit)));
    let path = scratch.join("plain.txt");
    let file = fs::File::create(&path).expect("the folder is ours");
    let mut ctr = scratch.ctr(socket);
    let mut ctr = ctr.arg("events").stdout(file).spawn().expect("ctr starts");
    scratch.owns(&ctr);
    let lines = || fs::read_to_string(&path).expect("the folder is ours");
    wait::until_true("ctr has subscribed", 20, || {
        block_on(subscriber::forward(
            socket,
            event("/probe/probe", 1, sent.event.clone()),
        ));
        lines().contains("/probe/probe")
    });
    let (headers, envelope) = block_on(async {
        // containerd answers with the first event only.
        let probe = async {
            loop {
                subscriber::forward(socket, event("/probe/probe", 1, sent.event.clone())).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (metadata, mut stream) = tokio::select! {
            answer = subscriber::plain(socket) => answer,
            () = probe => unreachable!("it has no end"),
        };
        subscriber::forward(socket, sent.clone()).await;
        let mut names: Vec<_> = metadata.into_headers().keys().map(ToString::to_string).collect();
        names.sort();
        loop {
            let envelope = stream.message().await.expect("a stream").expect("an event");
            if envelope.topic == "/tasks/exit" {
                return (names, envelope);
            }
        }
    });
    let line = wait::until("ctr prints the event", 10, || {
        lines()
            .lines()
            .find(|line| line.contains("/tasks/exit"))
            .map(str::to_owned)
    });
    ctr.kill().expect("ctr runs");
    ctr.wait().expect("ctr is a child");
    (headers, envelope, line)
}

#[test]
fn a_client_without_a_cursor_gets_what_containerd_sends() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    let (expected_headers, expected, expected_line) = told_to_a_plain_client(&scratch, containerd.socket());
    containerd.stop();
    let manager = Manager::start(&scratch);
    let (headers, envelope, line) = told_to_a_plain_client(&scratch, manager.socket());
    manager.stop();
    assert_eq!(envelope, expected);
    assert_eq!(envelope.sequence, 0);
    assert_eq!(line, expected_line);
    let ours = |names: &[String]| names.iter().filter(|name| name.starts_with("davit")).count();
    assert_eq!((ours(&headers), ours(&expected_headers)), (0, 0), "{headers:?}");
}
