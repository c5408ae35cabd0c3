use std::{path::Path, time::Duration};

use davit_stdio::{Decoder, Frame, LogDriver};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time,
};

use super::*;
use crate::stdio::{
    fd::{nonblocking, read},
    record::{RecordPlace, Recorder},
};

struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    async fn open(path: &Path, from: Option<u64>) -> Self {
        let mut client = Self {
            stream: UnixStream::connect(path).await.unwrap(),
            decoder: Decoder::default(),
        };
        client.send(&Frame::Open { from }).await;
        client
    }

    async fn send(&mut self, frame: &Frame) {
        self.stream.write_all(&frame.to_bytes()).await.unwrap();
    }

    /// `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            let length = time::timeout(Duration::from_secs(5), self.stream.read(&mut bytes))
                .await
                .unwrap()
                .ok()?;
            if length == 0 {
                return None;
            }
            self.decoder.push(&bytes[..length]);
        }
    }

    /// Output up to `end`, with acknowledgements.
    async fn take(&mut self, from: u64, end: u64) -> Vec<u8> {
        let (mut at, mut seen) = (from, Vec::new());
        while at < end {
            let Some(Frame::Output { offset, data, .. }) = self.next().await else {
                panic!("no output")
            };
            assert_eq!(offset, at);
            at += data.len() as u64;
            seen.extend(data);
            self.send(&Frame::OutputTaken { offset: at }).await;
        }
        seen
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    log: PathBuf,
    attach: Arc<Attach>,
}

async fn rig(stdin: bool) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (socket, log) = (dir.path().join("a"), dir.path().join("x-json.log"));
    let target = LogTarget {
        driver: LogDriver::JsonFile,
        path: log.clone(),
        attach: socket.clone(),
        options: Default::default(),
        details: Default::default(),
    };
    let attach = Attach::open(&target, "c1", stdin).await.unwrap();
    attach.add_output();
    Rig {
        _dir: dir,
        socket,
        log,
        attach,
    }
}

fn opened(output: u64, stdin: u64) -> Option<Frame> {
    Some(Frame::Opened { output, stdin })
}

#[tokio::test]
async fn a_client_gets_kept_output_and_new_output_and_the_end() {
    let rig = rig(false).await;
    rig.attach.output(Source::Stdout, b"before\n");
    let mut client = Client::open(&rig.socket, Some(0)).await;
    assert_eq!(client.next().await, opened(0, 0));
    assert_eq!(client.take(0, 7).await, b"before\n");
    rig.attach.output(Source::Stderr, b"after\n");
    let expected = Frame::Output {
        stream: Stream::Stderr,
        offset: 7,
        data: b"after\n".to_vec(),
    };
    assert_eq!(client.next().await, Some(expected));
    rig.attach.output_ended(Source::Stdout);
    rig.attach.process_ended();
    assert_eq!(client.next().await, Some(Frame::OutputEnded { offset: 13 }));
    assert_eq!(client.next().await, None);
    assert_eq!(fs::read_to_string(&rig.log).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn a_client_that_wants_nothing_old_begins_at_the_end_and_a_late_one_gets_all_that_is_kept() {
    let rig = rig(false).await;
    rig.attach.output(Source::Stdout, b"old");
    let mut client = Client::open(&rig.socket, None).await;
    assert_eq!(client.next().await, opened(3, 0));
    rig.attach.output_ended(Source::Stdout);
    rig.attach.process_ended();
    assert_eq!(client.next().await, Some(Frame::OutputEnded { offset: 3 }));
    let mut late = Client::open(&rig.socket, Some(1)).await;
    assert_eq!(late.next().await, opened(1, 0));
    assert_eq!(late.take(1, 3).await, b"ld");
    assert_eq!(late.next().await, Some(Frame::OutputEnded { offset: 3 }));
}

#[tokio::test]
async fn output_older_than_what_is_kept_is_said_to_be_gone() {
    let rig = rig(false).await;
    for _ in 0..40 {
        rig.attach.output(Source::Stdout, &[b'x'; 64 << 10]);
    }
    let mut client = Client::open(&rig.socket, Some(0)).await;
    assert_eq!(client.next().await, opened((40 << 16) - KEPT_OUTPUT as u64, 0));
}

#[tokio::test]
async fn the_last_output_is_kept_for_a_slow_client_but_not_what_others_write_without_end() {
    let rig = rig(false).await;
    let mut slow = Client::open(&rig.socket, None).await;
    slow.next().await;
    let (full, pipe) = (KEPT_OUTPUT as u64, MOST as u64);
    for _ in 0..full / pipe {
        rig.attach.output(Source::Stdout, &[b'x'; MOST]);
    }
    rig.attach.process_ended();
    rig.attach.output(Source::Stdout, &[b'y'; MOST]);
    assert_eq!(slow.take(0, full + pipe).await.len() as u64, full + pipe);
    let end = 3 * (full + LAST_OUTPUT);
    for _ in 0..(end - full - pipe) / pipe {
        rig.attach.output(Source::Stdout, &[b'z'; MOST]);
    }
    let mut late = Client::open(&rig.socket, Some(0)).await;
    assert_eq!(late.next().await, opened(end - full, 0));
}

#[tokio::test]
async fn whoever_cannot_be_attached_to_leaves_no_log_and_whoever_cannot_log_leaves_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = LogTarget {
        driver: LogDriver::JsonFile,
        path: dir.path().join("x.log"),
        attach: dir.path().join("missing").join("a"),
        options: Default::default(),
        details: Default::default(),
    };
    Attach::open(&target, "c1", false).await.unwrap_err();
    target.attach = dir.path().join("a");
    target.path = dir.path().join("missing").join("x.log");
    Attach::open(&target, "c1", false).await.unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn output_that_is_recorded_no_further_has_ended_with_its_last_line() {
    let rig = rig(false).await;
    rig.attach.output(Source::Stdout, b"no newline");
    drop(Recorder::new(RecordPlace::Attach(rig.attach.clone(), Source::Stdout)));
    rig.attach.process_ended();
    assert_eq!(fs::read_to_string(&rig.log).unwrap().lines().count(), 1);
    let mut client = Client::open(&rig.socket, None).await;
    assert_eq!(client.next().await, opened(10, 0));
    assert_eq!(client.next().await, Some(Frame::OutputEnded { offset: 10 }));
}

#[tokio::test]
async fn a_slow_client_holds_the_writer_up_until_it_acknowledges_or_goes() {
    let rig = rig(false).await;
    let mut client = Client::open(&rig.socket, None).await;
    client.next().await;
    let mut written = 0;
    let is_held = || async {
        time::timeout(Duration::from_millis(50), rig.attach.room())
            .await
            .is_err()
    };
    while !is_held().await {
        rig.attach.output(Source::Stdout, &[b'x'; MOST]);
        written += MOST as u64;
        assert!(written <= KEPT_OUTPUT as u64);
    }
    assert_eq!(client.take(0, MOST as u64).await.len(), MOST);
    time::timeout(Duration::from_secs(5), rig.attach.room()).await.unwrap();
    rig.attach.output(Source::Stdout, &[b'x'; MOST]);
    assert!(is_held().await);
    drop(client);
    time::timeout(Duration::from_secs(5), rig.attach.room()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let rig = rig(false).await;
    let total: u64 = 3 << 20;
    let attach = rig.attach.clone();
    let writer = tokio::spawn(async move {
        let mut at = 0u64;
        while at < total {
            attach.room().await;
            let bytes: Vec<u8> = (at..(at + 10_000).min(total))
                .map(|offset| (offset % 251) as u8)
                .collect();
            attach.output(Source::Stdout, &bytes);
            at += bytes.len() as u64;
            tokio::task::yield_now().await;
        }
    });
    let mut seen = Vec::new();
    // Connected from the first byte on; each connection but the last breaks off.
    let mut stop = total / 7;
    while (seen.len() as u64) < total {
        let from = seen.len() as u64;
        let mut client = Client::open(&rig.socket, Some(from)).await;
        assert_eq!(client.next().await, opened(from, 0));
        let more = client.take(from, stop.min(total)).await;
        seen.extend(more);
        stop += total / 7;
    }
    writer.await.unwrap();
    assert!(
        seen.iter()
            .enumerate()
            .all(|(offset, byte)| *byte == (offset % 251) as u8)
    );
    assert_eq!(seen.len() as u64, total);
}

#[tokio::test]
async fn input_is_acknowledged_when_the_process_has_it() {
    let rig = rig(true).await;
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let mut client = Client::open(&rig.socket, None).await;
    assert_eq!(client.next().await, opened(0, 0));
    client
        .send(&Frame::Stdin {
            offset: Some(0),
            data: b"abc".to_vec(),
        })
        .await;
    client
        .send(&Frame::Stdin {
            offset: Some(1),
            data: b"bcd".to_vec(),
        })
        .await;
    client.send(&Frame::StdinClose).await;
    time::sleep(Duration::from_millis(50)).await;
    tokio::spawn(rig.attach.clone().feed_stdin(Arc::new(nonblocking(to).unwrap())));
    assert_eq!(client.next().await, Some(Frame::StdinTaken { offset: 4 }));
    let process = nonblocking(from).unwrap();
    assert_eq!(read(&process, <[u8]>::to_vec).await.unwrap(), b"abcd");
    assert_eq!(read(&process, <[u8]>::to_vec).await.unwrap(), b"");
}

#[tokio::test]
async fn what_is_no_protocol_ends_the_connection_and_nothing_else() {
    let rig = rig(false).await;
    for bytes in [vec![0xff; 64], Frame::StdinClose.to_bytes()] {
        let mut stream = UnixStream::connect(&rig.socket).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }
    let mut client = Client::open(&rig.socket, None).await;
    client.next().await;
    client.send(&Frame::OutputEnded { offset: 0 }).await;
    assert_eq!(client.next().await, None);
    rig.attach.output(Source::Stdout, b"alive");
    assert_eq!(Client::open(&rig.socket, Some(0)).await.next().await, opened(0, 0));
}

#[tokio::test]
async fn closing_removes_the_socket_and_disconnects() {
    let rig = rig(false).await;
    let mut client = Client::open(&rig.socket, None).await;
    client.next().await;
    rig.attach.close();
    assert_eq!(client.next().await, None);
    assert!(!rig.socket.exists());
}
