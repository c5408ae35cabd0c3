//! An archive that goes to a client on a stream, as a writer for a blocking thread.

use std::io::{self, Write};

use davit_containerd_api::{
    any,
    types::transfer::{Data, WindowUpdate},
};
use tokio::runtime::Handle;

use crate::services::streaming::ClientStream;

/// Bytes of one message, as containerd's clients send them, too.
const CHUNK: usize = 32 * 1024;

/// Sends what is written, as fast as the client asks for it. Only for threads outside the runtime; dropping it ends the stream.
pub(super) struct StreamWriter {
    stream: ClientStream,
    runtime: Handle,
    /// Bytes that the client is ready for.
    window: usize,
}

impl StreamWriter {
    /// A writer to this stream; call it on the runtime.
    pub(super) fn new(stream: ClientStream) -> Self {
        Self {
            stream,
            runtime: Handle::current(),
            window: 0,
        }
    }

    fn wait_for_window(&mut self) -> io::Result<()> {
        while self.window == 0 {
            let message = self
                .runtime
                .block_on(self.stream.incoming.message())
                .map_err(io::Error::other)?;
            let message = message.ok_or(io::ErrorKind::BrokenPipe)?;
            let update: WindowUpdate = any::unpack(&message)
                .and_then(Result::ok)
                .ok_or_else(|| io::Error::other(format!("unexpected stream message {}", message.type_url)))?;
            self.window += usize::try_from(update.update).unwrap_or_default();
        }
        Ok(())
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait_for_window()?;
        let count = bytes.len().min(CHUNK).min(self.window);
        let data = any::pack(&Data {
            data: bytes[..count].to_vec(),
        });
        let sent = self.runtime.block_on(self.stream.outgoing.send(Ok(data)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.window -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
