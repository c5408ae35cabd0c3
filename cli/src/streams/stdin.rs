//! Standard input, read by a thread.
//!
//! A terminal or pipe cannot be made non-blocking: the flag belongs to the open file, which the shell and others share. The
//! thread is left in its read when the program ends.

use std::{io, thread};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::mpsc::{self, Receiver};

/// The bytes on standard input.
#[derive(Debug)]
pub struct Stdin {
    chunks: Receiver<io::Result<Bytes>>,
}

impl Stdin {
    /// Starts reading. One chunk waits at most, so that what is not asked for mostly stays with its owner.
    pub fn spawn() -> Self {
        let (sender, chunks) = mpsc::channel(1);
        thread::spawn(move || {
            let mut buffer = vec![0; 32 * 1024];
            loop {
                let chunk = match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                    Ok(0) => return,
                    Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                    Err(Errno::INTR) => continue,
                    Err(err) => Err(err.into()),
                };
                let failed = chunk.is_err();
                if sender.blocking_send(chunk).is_err() || failed {
                    return;
                }
            }
        });
        Self { chunks }
    }

    /// The next bytes, or nothing at the end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        self.chunks.recv().await.transpose()
    }
}
