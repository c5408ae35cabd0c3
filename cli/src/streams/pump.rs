//! Moves bytes both ways between a hijacked connection and this program's streams.

use std::{future, io};

use tokio::io::AsyncWriteExt;

use super::{Sink, Stdin};
use crate::{client::Hijacked, command_error::CommandError, terminal::DetachKeys};

/// Why the streams ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process closed its output.
    OutputEnded,
    /// The user pressed the detach keys.
    Detached,
}

/// What is moved.
#[derive(Debug)]
pub struct Pump {
    /// Whether standard input is sent.
    pub stdin: bool,
    /// The keys that end the session; only a terminal has them.
    pub detach_keys: Option<DetachKeys>,
}

impl Pump {
    /// Moves bytes until the output ends or the user detaches, and returns when all output is written.
    pub async fn run(self, hijacked: Hijacked) -> Result<End, CommandError> {
        let sink = Sink::spawn();
        let Hijacked { mut output, input } = hijacked;
        let receive = async {
            while let Some((channel, piece)) = output.next().await? {
                if !sink.write(channel, piece).await {
                    break;
                }
            }
            Ok(End::OutputEnded)
        };
        let end = tokio::select! {
            end = receive => end,
            end = send(self, input) => end,
        };
        sink.finish().await?;
        end
    }
}

/// Sends standard input. Ends only by the detach keys: the process may have more to say after its input ended.
async fn send(pump: Pump, mut input: impl AsyncWriteExt + Unpin) -> Result<End, CommandError> {
    if pump.stdin {
        let mut keys = pump.detach_keys;
        let mut stdin = Stdin::spawn();
        while let Some(chunk) = stdin.next().await? {
            let (typed, detached) = match &mut keys {
                Some(keys) => keys.pass(&chunk),
                None => (chunk, false),
            };
            // A process that ended does not read; its exit code is what counts.
            if written(&mut input, &typed).await.is_err() {
                break;
            }
            if detached {
                return Ok(End::Detached);
            }
        }
        let _ = input.shutdown().await;
    }
    future::pending().await
}

async fn written(input: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    input.write_all(bytes).await?;
    input.flush().await
}
