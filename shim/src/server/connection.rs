//! One client: what it says, what it is answered, and what of both is under way.

use std::{
    collections::BTreeMap,
    io,
    os::unix::net::UnixStream as StdStream,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use davit_luggage::{Bytes, Fd, Packing, Unpacking};
use serde::{Deserialize, Serialize};
use tokio::{
    net::UnixStream,
    sync::Notify,
    task::{self, AbortHandle},
};
use ttrpc::{Code, Request, Response};

use super::{
    Server, call,
    frame::{self, Kind, refusal},
    input::{Input, Said},
};
use crate::unsent::Unsent;

/// The most that one read takes, in bytes.
const MOST: usize = 16 << 10;

/// From a client that leaves so many bytes of answers, nothing more is read.
const UNREAD: usize = 1 << 20;

/// A connected client.
pub struct Connection {
    number: u64,
    stream: UnixStream,
    state: Mutex<State>,
    /// There is something to write, or room for more.
    changed: Notify,
    flushed: Notify,
}

#[derive(Default)]
struct State {
    input: Input,
    output: Unsent,
    /// The highest stream id so far: ids are odd and grow.
    last_stream: u32,
    /// Calls without an answer.
    calls: BTreeMap<u32, Call>,
}

/// A call without an answer.
enum Call {
    /// It has not begun.
    Held(Vec<u8>),
    /// It may begin again.
    Repeatable(Vec<u8>, AbortHandle),
    /// It must end.
    Unrepeatable,
}

/// A connection on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConnectionState {
    stream: Fd,
    input: Bytes,
    skip: usize,
    output: Bytes,
    last_stream: u32,
    /// Requests as they came, by stream id.
    calls: BTreeMap<u32, Bytes>,
}

impl Connection {
    /// A new one.
    pub fn new(number: u64, stream: UnixStream) -> Self {
        Self {
            number,
            stream,
            state: Mutex::default(),
            changed: Notify::new(),
            flushed: Notify::new(),
        }
    }

    /// What another program needs to serve it on; only while the server is quiet.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<ConnectionState> {
        let state = self.state();
        let (input, skip) = state.input.left();
        let calls = state.calls.iter().filter_map(|(stream, call)| match call {
            Call::Held(request) | Call::Repeatable(request, _) => Some((*stream, Bytes(request.clone()))),
            Call::Unrepeatable => None,
        });
        Ok(ConnectionState {
            stream: packing.fd(&self.stream)?,
            input: Bytes(input.to_vec()),
            skip,
            output: Bytes(state.output.left().to_vec()),
            last_stream: state.last_stream,
            calls: calls.collect(),
        })
    }

    /// One that another program has served; its calls are held back.
    pub fn unpack(number: u64, state: ConnectionState, unpacking: &mut Unpacking) -> io::Result<Self> {
        let stream = StdStream::from(unpacking.fd(state.stream)?);
        let connection = Self::new(number, UnixStream::from_std(stream)?);
        let calls = state.calls.into_iter();
        *connection.state() = State {
            input: Input::new(state.input.0, state.skip),
            output: Unsent::new(state.output.0),
            last_stream: state.last_stream,
            calls: calls.map(|(stream, request)| (stream, Call::Held(request.0))).collect(),
        };
        Ok(connection)
    }

    /// Reads and writes until the client is gone. What may begin again ends with it.
    pub async fn serve(self: Arc<Self>, server: Arc<Server>) {
        self.begin_held(&server);
        if let Err(error) = self.talk(&server).await {
            tracing::debug!(%error, "a client has gone");
        }
        server.remove(self.number);
        let calls = std::mem::take(&mut self.state().calls);
        for call in calls.into_values() {
            if let Call::Repeatable(_, task) = call {
                task.abort();
            }
        }
        self.flushed.notify_waiters();
    }

    async fn talk(self: &Arc<Self>, server: &Arc<Server>) -> io::Result<()> {
        loop {
            let left = self.state().output.left().len();
            tokio::select! {
                ready = self.stream.writable(), if left > 0 => {
                    ready?;
                    self.write()?;
                }
                ready = self.stream.readable(), if left < UNREAD => {
                    ready?;
                    if !self.read(server)? {
                        return Ok(());
                    }
                    // What was asked is answered before more is read, or what is unread would not be known.
                    task::yield_now().await;
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Reads once; `false` at the end.
    fn read(self: &Arc<Self>, server: &Arc<Server>) -> io::Result<bool> {
        let mut buffer = [0; MOST];
        let length = match self.stream.try_read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            read => read?,
        };
        let said = self.state().input.push(&buffer[..length]);
        for said in said {
            self.hear(server, said);
        }
        Ok(length > 0)
    }

    fn hear(self: &Arc<Self>, server: &Arc<Server>, said: Said) {
        let (stream, kind, payload) = match said {
            Said::TooLong(stream, length) => {
                let text = frame::too_long(length);
                return self.send(stream, &refusal(Code::RESOURCE_EXHAUSTED, text));
            }
            Said::Message(stream, kind, payload) => (stream, kind, payload),
        };
        match kind {
            Kind::Request => {
                let taken = self.state().take_stream(stream);
                if let Err(text) = taken {
                    return self.send(stream, &refusal(Code::INVALID_ARGUMENT, text));
                }
                self.state().calls.insert(stream, Call::Held(payload));
                self.begin(server, stream);
            }
            Kind::Data => {
                let text = "StreamID is no longer active";
                self.send(stream, &refusal(Code::INVALID_ARGUMENT, text));
            }
            Kind::Other => {}
        }
    }

    /// Begins all calls that are held back and need not be any more.
    pub fn begin_held(self: &Arc<Self>, server: &Arc<Server>) {
        let streams: Vec<u32> = self.state().calls.keys().copied().collect();
        for stream in streams {
            self.begin(server, stream);
        }
    }

    /// Begins a call that is held back, unless it must be.
    fn begin(self: &Arc<Self>, server: &Arc<Server>, stream: u32) {
        let mut state = self.state();
        let Some(Call::Held(payload)) = state.calls.get(&stream) else {
            return;
        };
        let request: Request = match frame::request(payload) {
            Ok(request) => request,
            Err(refusal) => {
                drop(state);
                return self.answer(stream, &refusal);
            }
        };
        let begun = if call::may_begin_again(&request.method) {
            let payload = payload.clone();
            let task = tokio::spawn(call::repeatable(server.clone(), self.clone(), stream, request));
            Call::Repeatable(payload, task.abort_handle())
        } else if server.holding.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        } else {
            call::begin(server, self, stream, request);
            Call::Unrepeatable
        };
        state.calls.insert(stream, begun);
    }

    /// Answers a call.
    pub fn answer(&self, stream: u32, response: &Response) {
        self.state().calls.remove(&stream);
        self.send(stream, response);
    }

    /// Says something of a stream. A call on it, if there is one, goes on.
    fn send(&self, stream: u32, response: &Response) {
        let message = frame::answer(stream, response);
        self.state().output.buffer().extend_from_slice(&message);
        // What fails here fails where it is tried again, too.
        let _ = self.write();
        self.changed.notify_one();
    }

    fn write(&self) -> io::Result<()> {
        let mut state = self.state();
        while !state.output.left().is_empty() {
            match self.stream.try_write(state.output.left()) {
                Ok(length) => state.output.advance(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        drop(state);
        self.flushed.notify_waiters();
        Ok(())
    }

    /// Returns when the client has taken all answers.
    pub async fn flushed(&self) {
        loop {
            let flushed = self.flushed.notified();
            if self.state().output.left().is_empty() {
                return;
            }
            flushed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A new call's stream id, as containerd's ttrpc wants it.
    fn take_stream(&mut self, stream: u32) -> Result<(), &'static str> {
        if stream.is_multiple_of(2) {
            return Err("StreamID must be odd for client initiated streams");
        }
        if stream <= self.last_stream {
            return Err("StreamID cannot be re-used and must increment");
        }
        self.last_stream = stream;
        Ok(())
    }
}
