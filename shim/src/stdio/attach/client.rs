//! One attached client.

use std::{io, sync::Arc};

use davit_stdio::{Decoder, Frame, INPUT_WINDOW, MAX_PAYLOAD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{Attach, State};

/// Serves a client until one side has nothing more to say.
pub async fn serve(stream: UnixStream, attach: Arc<Attach>) {
    let (mut reader, writer) = stream.into_split();
    let mut frames = Frames::default();
    let from = match frames.next(&mut reader).await {
        Ok(Some(Frame::Open { from })) => from,
        Ok(None) => return,
        other => return tracing::debug!(?other, "an attach client did not begin with Open"),
    };
    let client = Registered::new(attach, from);
    let reading = client.read(&mut frames, &mut reader);
    tokio::pin!(reading);
    let served = tokio::select! {
        read = &mut reading => read,
        // The client has it all; its last acknowledgements must not meet a closed socket.
        Ok(()) = client.write(writer) => reading.await,
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an attach client has gone");
    }
}

/// Frames from a client.
#[derive(Default)]
struct Frames {
    decoder: Decoder,
}

impl Frames {
    async fn next(&mut self, reader: &mut OwnedReadHalf) -> io::Result<Option<Frame>> {
        let mut bytes = [0; 2048];
        loop {
            let frame = self.decoder.next_frame();
            if let Some(frame) = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                return Ok(Some(frame));
            }
            match reader.read(&mut bytes).await? {
                0 => return Ok(None),
                length => self.decoder.push(&bytes[..length]),
            }
        }
    }
}

/// A client in the table of those who hold the writer up; leaves it when dropped.
struct Registered {
    attach: Arc<Attach>,
    number: u64,
    begin: u64,
    stdin: u64,
}

impl Registered {
    fn new(attach: Arc<Attach>, from: Option<u64>) -> Self {
        let mut state = attach.state();
        let number = state.next_client;
        state.next_client += 1;
        let begin = from.unwrap_or(u64::MAX).clamp(state.ring.start(), state.ring.end());
        state.clients.insert(number, begin);
        let stdin = state.input.received();
        drop(state);
        Self {
            attach,
            number,
            begin,
            stdin,
        }
    }

    async fn read(&self, frames: &mut Frames, reader: &mut OwnedReadHalf) -> io::Result<()> {
        while let Some(frame) = frames.next(reader).await? {
            match frame {
                Frame::OutputTaken { offset } => self.acknowledge(offset),
                Frame::Stdin { offset, data } => {
                    self.attach.state().input.push(offset, &data);
                    self.attach.changed.notify_waiters();
                    // A client keeps to the window; for one that does not, its own acknowledgements wait too.
                    self.attach.until(|state| state.input.waiting() <= INPUT_WINDOW).await;
                }
                Frame::StdinClose => self.attach.close_stdin(),
                Frame::Resize { rows, columns } => self.attach.resize(rows, columns),
                other => {
                    let text = format!("a client may not send {other:?}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&self, offset: u64) {
        let mut state = self.attach.state();
        let end = state.ring.end();
        if let Some(acknowledged) = state.clients.get_mut(&self.number) {
            *acknowledged = offset.clamp(*acknowledged, end);
        }
        drop(state);
        self.attach.changed.notify_waiters();
    }

    async fn write(&self, mut writer: OwnedWriteHalf) -> io::Result<()> {
        let opened = Frame::Opened {
            output: self.begin,
            stdin: self.stdin,
        };
        writer.write_all(&opened.to_bytes()).await?;
        let mut sent = Sent {
            output: self.begin,
            stdin: self.stdin,
        };
        let mut buffer = Vec::new();
        loop {
            let mut ended = false;
            let changed = self.attach.changed.notified();
            if !sent.fill(&self.attach.state(), &mut buffer, &mut ended) {
                // An idle client holds no memory.
                buffer = Vec::new();
                changed.await;
                continue;
            }
            writer.write_all(&buffer).await?;
            buffer.clear();
            if ended {
                self.leave();
                return writer.shutdown().await;
            }
        }
    }
}

impl Registered {
    /// Holds nobody up any more.
    fn leave(&self) {
        self.attach.state().clients.remove(&self.number);
        self.attach.changed.notify_waiters();
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.leave();
    }
}

/// What a client has been sent.
struct Sent {
    output: u64,
    stdin: u64,
}

impl Sent {
    /// Puts the next frames into the buffer; `false` if there are none.
    fn fill(&mut self, state: &State, buffer: &mut Vec<u8>, ended: &mut bool) -> bool {
        let taken = state.input.taken();
        if taken > self.stdin {
            self.stdin = taken;
            Frame::StdinTaken { offset: taken }.encode(buffer);
        }
        while buffer.len() < MAX_PAYLOAD
            && let Some((stream, bytes)) = state.ring.at(self.output)
        {
            Frame::encode_output(buffer, stream, self.output, bytes);
            self.output += bytes.len() as u64;
        }
        if self.output == state.ring.end() && state.has_ended() {
            Frame::OutputEnded { offset: self.output }.encode(buffer);
            *ended = true;
        }
        !buffer.is_empty()
    }
}
