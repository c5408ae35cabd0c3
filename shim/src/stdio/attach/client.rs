//! One attached client.

use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use davit_luggage::{Bytes, Fd, Packing, Unpacking};
use davit_stdio::{Decoder, Frame, INPUT_WINDOW, MAX_PAYLOAD};
use rustix::net::{Shutdown, shutdown};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::{Attach, State};
use crate::unsent::Unsent;

/// A connected client. All that is under way with it can be looked at between two steps.
#[derive(Debug)]
pub struct Client {
    /// Tells it from others.
    pub number: u64,
    stream: UnixStream,
    talk: Mutex<Talk>,
}

#[derive(Debug, Default)]
struct Talk {
    decoder: Decoder,
    /// Since it has said where it wants to begin.
    output: Option<Outgoing>,
}

/// What a client is being sent.
#[derive(Debug)]
struct Outgoing {
    frames: Unsent,
    sent: Sent,
    /// The last frame is among them.
    ended: bool,
}

/// A client on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientState {
    stream: Fd,
    received: Bytes,
    output: Option<OutgoingState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OutgoingState {
    frames: Bytes,
    sent: Sent,
    ended: bool,
    /// Up to where it has acknowledged, if it holds the writer up.
    acknowledged: Option<u64>,
}

impl Client {
    /// A client that has just connected.
    pub fn new(number: u64, stream: UnixStream) -> Self {
        Self {
            number,
            stream,
            talk: Mutex::default(),
        }
    }

    /// The client, for another program of ours; `acknowledged` if it holds the writer up.
    pub fn pack(&self, acknowledged: Option<u64>, packing: &mut Packing) -> io::Result<ClientState> {
        let talk = self.talk();
        let output = talk.output.as_ref().map(|output| OutgoingState {
            frames: Bytes(output.frames.left().to_vec()),
            sent: output.sent,
            ended: output.ended,
            acknowledged,
        });
        Ok(ClientState {
            stream: packing.fd(&self.stream)?,
            received: Bytes(talk.decoder.left().to_vec()),
            output,
        })
    }

    /// A client of another program of ours, and up to where it has acknowledged.
    pub fn unpack(number: u64, state: ClientState, unpacking: &mut Unpacking) -> io::Result<(Self, Option<u64>)> {
        let stream = StdStream::from(unpacking.fd(state.stream)?);
        let mut talk = Talk::default();
        talk.decoder.push(&state.received.0);
        let acknowledged = state.output.as_ref().and_then(|output| output.acknowledged);
        talk.output = state.output.map(|output| Outgoing {
            frames: Unsent::new(output.frames.0),
            sent: output.sent,
            ended: output.ended,
        });
        let client = Self {
            number,
            stream: UnixStream::from_std(stream)?,
            talk: Mutex::new(talk),
        };
        Ok((client, acknowledged))
    }

    /// Serves until one side has nothing more to say.
    pub async fn serve(self: Arc<Self>, attach: Arc<Attach>) {
        let _present = Present(&self, &attach);
        let mut reading = std::pin::pin!(self.read(&attach));
        let served = tokio::select! {
            read = &mut reading => read,
            // The client has it all; its last acknowledgements must not meet a closed socket.
            Ok(()) = self.write(&attach) => reading.await,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "an attach client has gone");
        }
    }

    async fn read(&self, attach: &Attach) -> io::Result<()> {
        while let Some(frame) = self.next_frame().await? {
            let is_open = self.talk().output.is_some();
            match frame {
                Frame::Open { from } if !is_open => self.open(attach, from),
                Frame::OutputTaken { offset } if is_open => attach.acknowledge(self.number, offset),
                Frame::Stdin { offset, data } if is_open => {
                    attach.state().input.push(offset, &data);
                    attach.changed.notify_waiters();
                    // A client keeps to the window; for one that does not, its own acknowledgements wait too.
                    attach.until(|state| state.input.waiting() <= INPUT_WINDOW).await;
                }
                Frame::StdinClose if is_open => attach.close_stdin(),
                Frame::Resize { rows, columns } if is_open => attach.resize(rows, columns),
                other => {
                    let text = format!("a client may not send {other:?} now");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
            }
        }
        Ok(())
    }

    async fn next_frame(&self) -> io::Result<Option<Frame>> {
        let mut bytes = [0; 2048];
        loop {
            let frame = self.talk().decoder.next_frame();
            if let Some(frame) = frame.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                return Ok(Some(frame));
            }
            self.stream.readable().await?;
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Ok(None),
                Ok(length) => self.talk().decoder.push(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// From now on it holds the writer up.
    fn open(&self, attach: &Attach, from: Option<u64>) {
        let mut state = attach.state();
        let begin = from.unwrap_or(u64::MAX).clamp(state.ring.start(), state.ring.end());
        state.clients.insert(self.number, begin);
        let sent = Sent {
            output: begin,
            stdin: state.input.received(),
        };
        drop(state);
        let opened = Frame::Opened {
            output: sent.output,
            stdin: sent.stdin,
        };
        self.talk().output = Some(Outgoing {
            frames: Unsent::new(opened.to_bytes()),
            sent,
            ended: false,
        });
        attach.changed.notify_waiters();
    }

    async fn write(&self, attach: &Attach) -> io::Result<()> {
        loop {
            let changed = attach.changed.notified();
            match self.next_step(attach) {
                Step::Wait => changed.await,
                Step::Send => {
                    self.stream.writable().await?;
                    self.send()?;
                }
                Step::End => {
                    attach.leave(self.number);
                    return Ok(shutdown(&self.stream, Shutdown::Write)?);
                }
            }
        }
    }

    fn next_step(&self, attach: &Attach) -> Step {
        let mut talk = self.talk();
        let Some(output) = &mut talk.output else {
            return Step::Wait;
        };
        if output.frames.is_empty() && !output.ended {
            output.ended = output.sent.fill(&attach.state(), output.frames.buffer());
        }
        match (output.frames.is_empty(), output.ended) {
            (false, _) => Step::Send,
            (true, true) => Step::End,
            (true, false) => Step::Wait,
        }
    }

    fn send(&self) -> io::Result<()> {
        let mut talk = self.talk();
        let Some(output) = &mut talk.output else { return Ok(()) };
        match self.stream.try_write(output.frames.left()) {
            Ok(length) => output.frames.advance(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Step {
    Wait,
    Send,
    End,
}

/// Whoever goes holds nobody up any more.
struct Present<'a>(&'a Client, &'a Attach);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.1.forget(self.0.number);
    }
}

/// What a client has been sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sent {
    output: u64,
    stdin: u64,
}

impl Sent {
    /// Puts the next frames into the buffer, if there are any; `true` if the last is among them.
    fn fill(&mut self, state: &State, buffer: &mut Vec<u8>) -> bool {
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
        let ended = self.output == state.ring.end() && state.has_ended();
        if ended {
            Frame::OutputEnded { offset: self.output }.encode(buffer);
        }
        ended
    }
}
