//! Standard output and standard error, written by a thread.
//!
//! A pipe that nobody reads blocks its writer. On the thread it blocks nothing else: signals are still forwarded and standard
//! input still flows.

use std::{
    io::{self, Write},
    thread,
};

use bytes::Bytes;
use tokio::sync::{
    mpsc::{self, Receiver, Sender},
    oneshot,
};

use super::Channel;

/// How many pieces may wait to be written before their source is asked to wait.
const WAITING: usize = 8;

/// Writes pieces of output in their order.
#[derive(Debug)]
pub struct Sink {
    pieces: Sender<(Channel, Bytes)>,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Sink {
    /// A sink with its thread.
    pub fn spawn() -> Self {
        let (pieces, waiting) = mpsc::channel(WAITING);
        let (done, written) = oneshot::channel();
        thread::spawn(move || done.send(write_all(waiting)));
        Self { pieces, written }
    }

    /// Queues a piece. `false` means that nobody reads any more; [`Sink::finish`] says why.
    pub async fn write(&self, channel: Channel, piece: Bytes) -> bool {
        self.pieces.send((channel, piece)).await.is_ok()
    }

    /// Waits until everything is written.
    pub async fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        self.written
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the output thread failed")))
    }
}

fn write_all(mut waiting: Receiver<(Channel, Bytes)>) -> io::Result<()> {
    while let Some((channel, piece)) = waiting.blocking_recv() {
        match channel {
            Channel::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&piece)?;
                stdout.flush()?;
            }
            Channel::Stderr => io::stderr().lock().write_all(&piece)?,
        }
    }
    Ok(())
}
