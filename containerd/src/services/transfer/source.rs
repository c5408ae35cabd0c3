//! An archive that a client sends on a stream, as a reader for a blocking thread.

use std::io::{self, Read};

use davit_containerd_api::{
    any,
    types::transfer::{Data, WindowUpdate},
};
use tokio::runtime::Handle;

use crate::services::streaming::ClientStream;

/// Bytes that the client may send before it is told to go on.
const WINDOW: usize = 1 << 20;

/// Reads what the client sends. Only for threads outside the runtime.
pub(super) struct StreamReader {
    stream: ClientStream,
    runtime: Handle,
    chunk: Vec<u8>,
    position: usize,
    /// Bytes that the client may still send.
    window: usize,
}

impl StreamReader {
    /// A reader of this stream; call it on the runtime.
    pub(super) fn new(stream: ClientStream) -> Self {
        Self {
            stream,
            runtime: Handle::current(),
            chunk: Vec::new(),
            position: 0,
            window: 0,
        }
    }

    /// The next chunk; an empty one is the end.
    fn receive(&mut self) -> io::Result<Vec<u8>> {
        self.widen();
        let message = self.runtime.block_on(self.stream.incoming.message());
        let Some(message) = message.map_err(|status| io::Error::other(format!("receive archive: {status}")))? else {
            return Ok(Vec::new());
        };
        let data: Data = match any::unpack(&message) {
            Some(data) => data.map_err(io::Error::other)?,
            None => {
                return Err(io::Error::other(format!(
                    "unexpected stream message {}",
                    message.type_url
                )));
            }
        };
        self.window = self.window.saturating_sub(data.data.len());
        match data.data.is_empty() {
            true => self.receive(),
            false => Ok(data.data),
        }
    }

    fn widen(&mut self) {
        if self.window > WINDOW / 2 {
            return;
        }
        let update = any::pack(&WindowUpdate {
            update: i32::try_from(WINDOW).unwrap_or(i32::MAX),
        });
        self.window += WINDOW;
        // A client that has sent everything may be gone; whether it has, the next message tells.
        let _ = self.runtime.block_on(self.stream.outgoing.send(Ok(update)));
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.chunk.len() {
            self.chunk = self.receive()?;
            self.position = 0;
        }
        let left = &self.chunk[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}
