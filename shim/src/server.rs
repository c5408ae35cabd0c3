//! A ttrpc server whose connections outlive the program.
//!
//! The services are the generated ones of the ttrpc crate; the server is our own because that crate's can give nothing away but its
//! listener. Here everything that belongs to a connection can be carried to another program in the same process ([`ServerState`]):
//! the socket, bytes that were read and make no whole message yet, bytes that the client has not taken, and the calls that wait
//! for an answer. A call that must not begin twice has ended by then; any other is carried as it came, and begins again.
//!
//! As for the wire: <https://github.com/containerd/ttrpc/blob/main/PROTOCOL.md>. Only unary calls are served.

mod call;
mod connection;
mod frame;
mod input;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::unix::net::UnixListener as StdListener,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use davit_luggage::{Fd, Packing, Unpacking};
use serde::{Deserialize, Serialize};
use tokio::{net::UnixListener, sync::watch, time};
use ttrpc::r#async::Service;

use self::connection::{Connection, ConnectionState};

/// How long accepting pauses when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// The services, and who is connected.
pub struct Server {
    listener: UnixListener,
    services: HashMap<String, Service>,
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// Calls that must not begin twice are held back, for a new program perhaps.
    holding: AtomicBool,
    /// How many of them have begun and not ended.
    unfinished: watch::Sender<usize>,
}

/// A server on its way to another program.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServerState {
    listener: Fd,
    connections: Vec<ConnectionState>,
}

impl Server {
    /// A server on a listener.
    pub fn new(listener: StdListener, services: HashMap<String, Service>) -> io::Result<Arc<Self>> {
        listener.set_nonblocking(true)?;
        Ok(Arc::new(Self {
            listener: UnixListener::from_std(listener)?,
            services,
            connections: Mutex::default(),
            holding: AtomicBool::new(false),
            unfinished: watch::Sender::new(0),
        }))
    }

    /// Accepts and serves until it is dropped.
    pub async fn run(self: Arc<Self>) {
        for connection in self.all() {
            tokio::spawn(connection.serve(self.clone()));
        }
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.add(|number| Connection::new(number, stream));
                    tokio::spawn(connection.serve(self.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Holds back all calls that must not begin twice, and returns when those that have begun have ended.
    pub async fn hold(&self) {
        self.holding.store(true, Ordering::Relaxed);
        // The sender is ours.
        let _ = self
            .unfinished
            .subscribe()
            .wait_for(|unfinished| *unfinished == 0)
            .await;
    }

    /// Whether all calls that have begun may begin again.
    pub fn is_quiet(&self) -> bool {
        self.holding.load(Ordering::Relaxed) && *self.unfinished.borrow() == 0
    }

    /// Lets the calls begin that were held back.
    pub fn release(self: &Arc<Self>) {
        self.holding.store(false, Ordering::Relaxed);
        for connection in self.all() {
            connection.begin_held(self);
        }
    }

    /// Returns when every answer is with its client.
    pub async fn flushed(&self) {
        for connection in self.all() {
            connection.flushed().await;
        }
    }

    /// What another program needs to serve on.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<ServerState> {
        let connections = self.all().into_iter().map(|connection| connection.pack(packing));
        Ok(ServerState {
            connections: connections.collect::<io::Result<_>>()?,
            listener: packing.fd(&self.listener)?,
        })
    }

    /// A server that serves on; [`Server::run`] lets the calls begin again.
    pub fn unpack(
        state: ServerState,
        unpacking: &mut Unpacking,
        services: HashMap<String, Service>,
    ) -> io::Result<Arc<Self>> {
        let server = Self::new(unpacking.fd(state.listener)?.into(), services)?;
        for connection in state.connections {
            let number = server.connections().len() as u64;
            let connection = Connection::unpack(number, connection, unpacking)?;
            server.connections().insert(number, Arc::new(connection));
        }
        Ok(server)
    }

    fn add(&self, make: impl FnOnce(u64) -> Connection) -> Arc<Connection> {
        let mut connections = self.connections();
        let number = connections.last_key_value().map_or(0, |(last, _)| last + 1);
        let connection = Arc::new(make(number));
        connections.insert(number, connection.clone());
        connection
    }

    fn remove(&self, number: u64) {
        self.connections().remove(&number);
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        self.connections().values().cloned().collect()
    }

    fn connections(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
