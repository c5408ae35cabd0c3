//! A client of an attach socket.

use std::{path::Path, time::Duration};

use davit_stdio::{Decoder, Frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time,
};

pub struct Attached {
    stream: UnixStream,
    decoder: Decoder,
    /// All before this offset has been seen.
    pub at: u64,
}

impl Attached {
    pub async fn open(path: &Path, from: Option<u64>) -> Self {
        let stream = UnixStream::connect(path).await.expect("an attach socket");
        let mut client = Self {
            stream,
            decoder: Decoder::default(),
            at: 0,
        };
        client.send(&Frame::Open { from }).await;
        match client.next().await {
            Some(Frame::Opened { output, .. }) => client.at = output,
            other => panic!("not opened but {other:?}"),
        }
        client
    }

    pub async fn send(&mut self, frame: &Frame) {
        self.stream
            .write_all(&frame.to_bytes())
            .await
            .expect("a shim that reads");
    }

    /// `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("frames") {
                return Some(frame);
            }
            let mut bytes = vec![0; 64 << 10];
            let read = time::timeout(Duration::from_secs(60), self.stream.read(&mut bytes)).await;
            match read.expect("the shim goes on").ok()? {
                0 => return None,
                length => self.decoder.push(&bytes[..length]),
            }
        }
    }

    /// The next output, acknowledged; `None` when it has ended.
    pub async fn output(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.next().await.expect("an end that is said") {
                Frame::Output { offset, data, .. } => {
                    assert_eq!(offset, self.at, "a gap or a repetition");
                    self.at += data.len() as u64;
                    self.send(&Frame::OutputTaken { offset: self.at }).await;
                    return Some(data);
                }
                Frame::OutputEnded { offset } => {
                    assert_eq!(offset, self.at);
                    return None;
                }
                Frame::StdinTaken { .. } => {}
                other => panic!("the shim may not send {other:?}"),
            }
        }
    }

    /// All output to its end.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.output().await {
            all.extend(bytes);
        }
        all
    }
}
