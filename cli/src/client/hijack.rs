//! A connection that stopped being HTTP.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use hyper::{Response, body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};

use crate::{
    command_error::CommandError,
    streams::{Channel, Frames},
};

/// The two directions of `attach` and `exec start`.
///
/// The writer's `shutdown` closes its direction only: the container reads end of file and its output goes on.
#[derive(Debug)]
pub struct Hijacked {
    /// What the process writes.
    pub output: Output,
    /// What the process reads.
    pub input: WriteHalf<TokioIo<Upgraded>>,
}

/// The receiving direction, framed or raw.
#[derive(Debug)]
pub struct Output {
    stream: ReadHalf<TokioIo<Upgraded>>,
    frames: Frames,
    buffer: BytesMut,
}

impl Hijacked {
    /// Takes over the connection that brought this answer. A process with a terminal has one stream and no frames.
    pub async fn take(response: Response<Incoming>, terminal: bool) -> Result<Self, CommandError> {
        let upgraded = hyper::upgrade::on(response).await?;
        let (stream, input) = tokio::io::split(TokioIo::new(upgraded));
        Ok(Self {
            output: Output {
                stream,
                frames: Frames::new(terminal),
                buffer: BytesMut::with_capacity(32 * 1024),
            },
            input,
        })
    }
}

impl Output {
    /// The next piece of output and where it goes.
    pub async fn next(&mut self) -> io::Result<Option<(Channel, Bytes)>> {
        loop {
            if let Some(piece) = self.frames.take(&mut self.buffer)? {
                return Ok(Some(piece));
            }
            self.buffer.reserve(16 * 1024);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return match self.buffer.has_remaining() {
                    true => Err(io::ErrorKind::UnexpectedEof.into()),
                    false => Ok(None),
                };
            }
        }
    }
}
