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

/// Gives up soon; whether its peer is there again it must find out sooner than its longest pause.
const QUICK: Retry = Retry {
    attempts: 3,
    pause: Duration::from_millis(20),
    growth: 1.5,
    longest: Duration::from_secs(3600),
};

struct Rig {
    dir: tempfile::TempDir,
    queue: Arc<Queue>,
}

impl Rig {
    fn new(retry: Retry) -> Self {
        Self::with(retry, Address::Unix)
    }

    fn with(retry: Retry, address: impl FnOnce(std::path::PathBuf) -> Address) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::new(Mode::Blocking));
        let remote = Remote::new(Plain, vec![address(dir.path().join("s"))], retry);
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

/// Waits for something that must come.
async fn soon<T>(coming: impl Future<Output = T>) -> T {
    time::timeout(Duration::from_secs(60), coming).await.unwrap()
}

async fn connected(listener: &UnixListener) -> UnixStream {
    soon(listener.accept()).await.unwrap().0
}

async fn heard(stream: &mut UnixStream, length: usize) -> String {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_peer_that_comes_late_or_comes_back_gets_what_waited_for_it() {
    let rig = Rig::new(Retry::PATIENT);
    rig.say("one");
    time::sleep(Duration::from_millis(50)).await;
    let listener = rig.listen();
    let mut stream = connected(&listener).await;
    assert_eq!(heard(&mut stream, 4).await, "one\n");
    stream.shutdown().await.unwrap();
    drop((stream, listener));
    rig.say("two");
    rig.say("three");
    time::sleep(Duration::from_millis(50)).await;
    let listener = rig.listen();
    let mut stream = connected(&listener).await;
    assert_eq!(heard(&mut stream, 10).await, "two\nthree\n");
}

#[tokio::test]
async fn a_peer_that_stays_away_costs_records_but_no_time_without_end_and_is_found_again_soon() {
    let rig = Rig::new(QUICK);
    // More than may wait: there is room once it has been given up.
    (0..1000).for_each(|_| rig.say("lost"));
    soon(rig.queue.room()).await;
    let listener = rig.listen();
    let finding = async {
        let mut stream = loop {
            rig.say("found");
            tokio::select! {
                accepted = listener.accept() => break accepted.unwrap().0,
                () = time::sleep(Duration::from_millis(10)) => {}
            }
        };
        let mut line = String::new();
        while line != "found\n" {
            line = heard(&mut stream, 1).await;
            while !line.ends_with('\n') {
                line += &heard(&mut stream, 1).await;
            }
        }
    };
    soon(finding).await;
}

#[tokio::test]
async fn a_record_that_is_too_long_is_lost_alone() {
    let rig = Rig::with(QUICK, Address::Unixgram);
    let peer = tokio::net::UnixDatagram::bind(rig.socket()).unwrap();
    rig.say(&"x".repeat(10 << 20));
    rig.say("short");
    let mut bytes = [0; 100];
    let length = soon(peer.recv(&mut bytes)).await.unwrap();
    assert_eq!(&bytes[..length], b"short\n");
}

#[test]
fn only_what_says_so_is_too_long() {
    assert!(is_too_long(&Errno::MSGSIZE.into()));
    assert!(is_too_long(&io::Error::other(TooLong)));
    assert!(!is_too_long(&io::ErrorKind::InvalidInput.into()));
    assert!(!is_too_long(&io::Error::other("something else")));
}

#[test]
fn pauses_grow_up_to_the_longest() {
    let pauses: Vec<_> = [0, 1, 2, 4, 9, u32::MAX]
        .map(|failures| Retry::PATIENT.pause(failures).as_millis())
        .into();
    assert_eq!(pauses, [100, 200, 400, 1600, 5000, 5000]);
    let looks = [0, 300, 60_000].map(|pause| {
        let pause = Duration::from_millis(pause);
        Retry { pause, ..QUICK }.look().as_millis()
    });
    assert_eq!(looks, [100, 300, 1000]);
}
