//! A process's output as it goes to the log and to attached clients, and the input that comes from them.
//!
//! The protocol is described in `davit-stdio`. What holds here: output is in the log before a client sees it; the last
//! [`KEPT_OUTPUT`] bytes are kept whether or not somebody is attached; a client that is connected and does not acknowledge slows
//! the process, one that has gone does not. A log driver whose peer is slow slows the process, too, unless its mode forbids it; then
//! what is in the log is what waits for the peer.

mod client;
mod handover;
mod input;
mod ring;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

use davit_logs::{Delivery, Log, Source};
use davit_stdio::{KEPT_OUTPUT, LogTarget, Stream};
use jiff::Timestamp;
use tokio::{
    io::unix::AsyncFd,
    net::{UnixListener, UnixStream},
    sync::Notify,
    task::{AbortHandle, JoinSet},
};

pub use self::handover::{AttachState, pack, unpack};
use self::{client::Client, input::PendingInput, ring::Ring};
use super::{StdioError, failed, fd::MOST, set_size};
use crate::socket;

/// How many bytes may come when the process has ended without regard to slow clients: what two pipes hold that an unprivileged
/// process has made as large as it may.
const LAST_OUTPUT: u64 = 2 << 20;

/// The log and the attach socket of one process.
#[derive(Debug)]
pub struct Attach {
    path: PathBuf,
    /// Held by who accepts.
    listener: Weak<UnixListener>,
    /// Of a log whose records wait for a peer.
    delivery: Option<Delivery>,
    state: Mutex<State>,
    /// Something in the state has changed that others wait for.
    changed: Notify,
    console: OnceLock<Arc<AsyncFd<OwnedFd>>>,
    server: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct State {
    log: Option<Log>,
    log_failed: bool,
    ring: Ring,
    connections: BTreeMap<u64, Arc<Client>>,
    /// Clients that hold the writer up, and up to where each has acknowledged output.
    clients: HashMap<u64, u64>,
    open_outputs: u32,
    /// The end of output when the process ended; others may go on writing.
    process_ended: Option<u64>,
    input: PendingInput,
}

impl State {
    fn has_ended(&self) -> bool {
        self.process_ended.is_some() && self.open_outputs == 0
    }
}

impl Attach {
    /// Opens the log and makes the socket.
    pub async fn open(target: &LogTarget, container: &str, stdin_attached: bool) -> Result<Arc<Self>, StdioError> {
        let what = format!("cannot make the attach socket {}", target.attach.display());
        let listener = bind(&target.attach).map_err(failed(what))?;
        // Last: a log that was made stays.
        let (log, delivery) = match Log::open(target, container).await {
            Ok(opened) => opened.unzip(),
            Err(error) => {
                remove(&target.attach);
                return Err(error.into());
            }
        };
        let state = State {
            log,
            log_failed: false,
            ring: Ring::default(),
            connections: BTreeMap::new(),
            clients: HashMap::new(),
            open_outputs: 0,
            process_ended: None,
            input: PendingInput::new(stdin_attached),
        };
        Ok(Self::begin(target.attach.clone(), listener, delivery.flatten(), state))
    }

    fn begin(path: PathBuf, listener: UnixListener, delivery: Option<Delivery>, state: State) -> Arc<Self> {
        let listener = Arc::new(listener);
        let attach = Arc::new(Self {
            path,
            listener: Arc::downgrade(&listener),
            delivery,
            state: Mutex::new(state),
            changed: Notify::new(),
            console: OnceLock::new(),
            server: OnceLock::new(),
        });
        let server = tokio::spawn(serve(listener, attach.clone()));
        // Set once, here.
        let _ = attach.server.set(server.abort_handle());
        attach
    }

    /// One more stream of output will come.
    pub fn add_output(&self) {
        self.state().open_outputs += 1;
    }

    /// Output of the process, as it was read.
    pub fn output(&self, source: Source, bytes: &[u8]) {
        let mut state = self.state();
        state.log_write(|log| log.write(source, bytes, Timestamp::now()));
        let stream = match source {
            Source::Stdout => Stream::Stdout,
            Source::Stderr => Stream::Stderr,
        };
        state.ring.push(stream, bytes);
        let end = state.ring.end();
        // What comes right after the end of the process comes without regard to slow clients. It is kept for them.
        if state.process_ended.is_none_or(|ended| end > ended + LAST_OUTPUT) {
            state.ring.trim(end.saturating_sub(KEPT_OUTPUT as u64));
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns when no connected client is so far behind that it could miss output, and the log takes more.
    pub async fn room(&self) {
        if let Some(delivery) = &self.delivery {
            delivery.room().await;
        }
        let has_room = |state: &State| {
            let behind = state
                .clients
                .values()
                .min()
                .map_or(0, |acknowledged| state.ring.end() - acknowledged);
            behind + MOST as u64 <= KEPT_OUTPUT as u64
        };
        self.until(has_room).await;
    }

    /// A stream of output has ended.
    pub fn output_ended(&self, source: Source) {
        let mut state = self.state();
        state.log_write(|log| log.finish(source, Timestamp::now()));
        state.open_outputs = state.open_outputs.saturating_sub(1);
        drop(state);
        self.changed.notify_waiters();
    }

    /// The process has ended. What it had written may still come.
    pub fn process_ended(&self) {
        let mut state = self.state();
        state.process_ended = Some(state.ring.end());
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns when no client is connected and the log has been delivered. No more output will come.
    pub async fn all_taken(&self) {
        if let Some(delivery) = &self.delivery {
            delivery.finish().await;
        }
        self.until(|state| state.clients.is_empty()).await;
    }

    /// The terminal that clients may resize.
    pub fn set_console(&self, console: Arc<AsyncFd<OwnedFd>>) {
        // Set once, when the process exists.
        let _ = self.console.set(console);
    }

    /// Disconnects everybody, the log's peer too, and removes the socket.
    pub fn close(&self) {
        if let Some(delivery) = &self.delivery {
            delivery.abort();
        }
        if let Some(server) = self.server.get() {
            server.abort();
        }
        remove(&self.path);
    }

    /// A client has taken output up to there.
    fn acknowledge(&self, client: u64, offset: u64) {
        let mut state = self.state();
        let end = state.ring.end();
        if let Some(acknowledged) = state.clients.get_mut(&client) {
            *acknowledged = offset.clamp(*acknowledged, end);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A client holds nobody up any more.
    fn leave(&self, client: u64) {
        self.state().clients.remove(&client);
        self.changed.notify_waiters();
    }

    /// A client has gone.
    fn forget(&self, client: u64) {
        self.state().connections.remove(&client);
        self.leave(client);
    }

    fn resize(&self, rows: u16, columns: u16) {
        let Some(console) = self.console.get() else { return };
        if let Err(error) = set_size(console.get_ref(), rows, columns) {
            tracing::debug!(%error, "cannot resize the terminal");
        }
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            // Made before the look at the state, so that no change falls between.
            let changed = self.changed.notified();
            if condition(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn connect(&mut self, stream: UnixStream) -> Arc<Client> {
        let number = self.connections.last_key_value().map_or(0, |(last, _)| last + 1);
        let client = Arc::new(Client::new(number, stream));
        self.connections.insert(number, client.clone());
        client
    }

    /// A full disk is reported once; the container goes on.
    fn log_write(&mut self, write: impl FnOnce(&mut Log) -> io::Result<()>) {
        let Some(log) = &mut self.log else { return };
        match write(log) {
            Ok(()) => self.log_failed = false,
            Err(error) => {
                if !std::mem::replace(&mut self.log_failed, true) {
                    tracing::warn!(%error, "log records are lost");
                }
            }
        }
    }
}

fn bind(path: &PathBuf) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = socket::listen(path)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot remove the attach socket");
    }
}

/// Accepts clients until it is aborted; they end with it.
async fn serve(listener: Arc<UnixListener>, attach: Arc<Attach>) {
    let mut serving = JoinSet::new();
    let connected: Vec<_> = attach.state().connections.values().cloned().collect();
    for client in connected {
        serving.spawn(client.serve(attach.clone()));
    }
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let client = attach.state().connect(stream);
                serving.spawn(client.serve(attach.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an attach client");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while serving.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests;
