use std::path::Path;

use jiff::Timestamp;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::*;
use crate::{Source, queue::Mode, record::Record};

/// The line and a newline.
#[derive(Debug)]
struct Plain;

impl Driver for Plain {
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>) {
        message.extend_from_slice(&record.line);
        message.push(b'\n');
    }
}

const QUICK: Retry = Retry {
    attempts: 3,
    pause: Duration::from_millis(20),
    growth: 1.5,
    longest: Duration::from_millis(100),
};

struct Rig {
    dir: tempfile::TempDir,
    queue: Arc<Queue>,
}

impl Rig {
    fn new(retry: Retry) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::new(Mode::Blocking));
        let remote = Remote::new(Plain, vec![Address::Unix(dir.path().join("s"))], retry);
        tokio::spawn(remote.run(queue.clone()));
        Self { dir, queue }
    }

    fn say(&self, text: &str) {
        self.queue.push(Record {
            source: Source::Stdout,
            time: Timestamp::UNIX_EPOCH,
            line: text.as_bytes().into(),
            partial: None,
        });
    }

    fn listen(&self) -> UnixListener {
        // A peer that is started again finds its old socket.
        let _ = std::fs::remove_file(self.socket());
        UnixListener::bind(self.socket()).unwrap()
    }

    fn socket(&self) -> impl AsRef<Path> + use<> {
        self.dir.path().join("s")
    }
}

async fn heard(stream: &mut UnixStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    time::timeout(Duration::from_secs(5), stream.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_peer_that_comes_late_or_comes_back_gets_what_waited_for_it() {
    let rig = Rig::new(Retry::PATIENT);
    rig.say("one");
    time::sleep(Duration::from_millis(50)).await;
    let listener = rig.listen();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(heard(&mut stream, 4).await, "one\n");
    stream.shutdown().await.unwrap();
    drop((stream, listener));
    rig.say("two");
    rig.say("three");
    time::sleep(Duration::from_millis(50)).await;
    let listener = rig.listen();
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(heard(&mut stream, 10).await, "two\nthree\n");
}

#[tokio::test]
async fn a_peer_that_stays_away_costs_records_but_no_time_without_end() {
    let rig = Rig::new(QUICK);
    rig.say("lost");
    time::sleep(Duration::from_millis(400)).await;
    rig.say("lost, too");
    (0..1000).for_each(|_| rig.say("lost at once"));
    time::timeout(Duration::from_secs(5), rig.queue.room()).await.unwrap();
    time::sleep(Duration::from_millis(200)).await;
    let listener = rig.listen();
    rig.say("found");
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_eq!(heard(&mut stream, 6).await, "found\n");
}

#[test]
fn pauses_grow_up_to_the_longest() {
    let pauses: Vec<_> = [0, 1, 2, 4, 9, u32::MAX]
        .map(|failures| Retry::PATIENT.pause(failures).as_millis())
        .into();
    assert_eq!(pauses, [100, 200, 400, 1600, 5000, 5000]);
}
