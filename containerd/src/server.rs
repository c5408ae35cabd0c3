//! The daemon's sockets, and what is served on them.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    time::Duration,
};

use davit_tasks::Restoring;
use rustix::{fs::Mode, process::umask};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    body::Body,
    codegen::http::{Request, Response},
    server::NamedService,
    service::RoutesBuilder,
    transport::Server,
};
use tower::Service;

use crate::{
    config::{Config, Owner, Socket},
    daemon::{Daemon, OpenError},
    forward, inspection,
    metrics::{Calls, Metrics},
    restart::Monitor,
    services,
    wording::Wording,
};

/// How long open calls may take to end once the daemon is asked to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another daemon answers on the socket.
    #[error("address {0} is in use by a running daemon")]
    InUse(PathBuf),
    /// The socket cannot be made.
    #[error("listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Metrics cannot be served.
    #[error("listen on {address} for metrics")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A folder cannot be made.
    #[error("make folder {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store or the journal cannot be opened.
    #[error("open store")]
    Store(#[from] OpenError),
    /// The identity of this server cannot be read or stored.
    #[error("identity of this server")]
    Identity(#[source] io::Error),
    /// The bundles of an earlier run cannot be read.
    #[error("find shims")]
    Restore(#[source] io::Error),
    /// The ttrpc server does not start.
    #[error("serve ttrpc")]
    Forward(#[from] ttrpc::Error),
    /// Serving ended with an error.
    #[error("serve gRPC")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until `stop` is cancelled, then lets open calls end for a moment.
///
/// Calls are served while the shims of an earlier run are looked for: who asks for one of their containers waits for it alone.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServerError> {
    make_folder(&config.root, 0o711)?;
    make_folder(&config.state, 0o711)?;
    let calls = listen(&config.grpc)?;
    let forwarded = listen(&config.ttrpc)?;
    let debug = config.debug.as_ref().map(listen).transpose()?;
    davit_fail_point::reach("manager.serve.bound");
    let daemon = Daemon::open(config, stop)?;
    davit_fail_point::reach("manager.serve.opened");
    // Served until the process ends: an event that is not acknowledged then is kept by its shim.
    let _forwarding = forward::serve(forwarded, daemon.recorder.clone(), daemon.tasks.clone()).await?;
    let restoring = daemon.tasks.restore().map_err(ServerError::Restore)?;
    davit_fail_point::reach("manager.serve.restoring");
    let monitor = daemon
        .config
        .restart_interval
        .map(|interval| Monitor::new(&daemon, interval));
    let unasked = tokio::spawn(work_unasked(restoring, monitor));
    let served = serve_calls(&daemon, calls, debug).await;
    daemon.stop.cancel();
    if tokio::time::timeout(DRAIN, unasked).await.is_err() {
        tracing::info!("the search for shims, or a restart, is cut off");
    }
    served
}

/// Finds the tasks of an earlier run, and keeps those running that shall run. One shim that hangs is no reason to keep the
/// others waiting: the monitor waits for each by itself, and listens before the first of them can be known to be dead.
async fn work_unasked(restoring: Restoring, monitor: Option<Monitor>) {
    let keep_running = async {
        if let Some(monitor) = monitor {
            monitor.run().await;
        }
    };
    tokio::join!(biased; keep_running, restoring.finish());
}

async fn serve_calls(daemon: &Daemon, listener: UnixListener, debug: Option<UnixListener>) -> Result<(), ServerError> {
    let services = services(daemon)?;
    let calls = match &daemon.config.metrics {
        Some(metrics) => Calls::new(services.names.iter().copied(), metrics.grpc_histogram),
        None => Calls::default(),
    };
    open_to_inspection(daemon, calls.clone(), debug).await?;
    let server = Server::builder()
        // What is counted is what is said in the end.
        .layer(calls)
        .layer(Wording::new(services.names))
        .add_routes(services.routes.routes())
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), daemon.stop.clone().cancelled_owned());
    tracing::info!(address = %daemon.config.grpc.path.display(), version = crate::version::PROGRAM, "serving");
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return Ok(result?),
        () = daemon.stop.cancelled() => {}
    }
    match tokio::time::timeout(DRAIN, server).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            tracing::info!("open calls are cut off");
            Ok(())
        }
    }
}

/// Serves what the configuration wants to be looked at.
async fn open_to_inspection(daemon: &Daemon, calls: Calls, debug: Option<UnixListener>) -> Result<(), ServerError> {
    if let Some(wanted) = &daemon.config.metrics {
        let metrics = Metrics {
            calls,
            tasks: daemon.tasks.clone(),
            database: daemon.database.clone(),
        };
        let served = inspection::serve_metrics(wanted.address, metrics, daemon.stop.clone()).await;
        served.map_err(|source| ServerError::Metrics {
            address: wanted.address,
            source,
        })?;
    }
    if let Some(listener) = debug {
        inspection::serve_debug(
            listener,
            daemon.tasks.clone(),
            daemon.database.clone(),
            daemon.stop.clone(),
        );
    }
    Ok(())
}

/// Every service.
fn services(daemon: &Daemon) -> Result<Services, ServerError> {
    let streams = services::streaming::Streams::default();
    let services = Services::default()
        .with(services::version::service())
        .with(services::health::service())
        .with(services::introspection::service(daemon).map_err(ServerError::Identity)?)
        .with(services::namespaces::service(daemon))
        .with(services::containers::service(daemon))
        .with(services::sandboxes::store(daemon))
        .with(services::sandboxes::controller(daemon))
        .with(services::content::service(&daemon.storage))
        .with(services::snapshots::service(&daemon.storage))
        .with(services::diff::service(&daemon.storage))
        .with(services::images::service(&daemon.storage))
        .with(services::leases::service(&daemon.storage))
        .with(services::streaming::service(streams.clone()))
        .with(services::transfer::service(&daemon.storage, streams))
        .with(services::tasks::service(daemon))
        .with(services::events::service(daemon));
    Ok(services)
}

/// Services and their names.
#[derive(Default)]
struct Services {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
}

impl Services {
    fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service);
        self.names.push(S::NAME);
        self
    }
}

/// Makes a folder and its parents, where they are missing.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), ServerError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| ServerError::Folder {
            path: path.into(),
            source,
        })
}

/// A listening socket that only its owner may use, and the owner's group where it is not root's. One left behind by a dead
/// daemon is replaced, a live one is not.
pub(crate) fn listen(socket: &Socket) -> Result<UnixListener, ServerError> {
    let path = &socket.path;
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        make_folder(folder, 0o700)?;
        give(folder, socket.owner, 0o710).map_err(|source| ServerError::Folder {
            path: folder.into(),
            source,
        })?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(ServerError::InUse(path.into()));
    }
    bind(path, socket.owner).map_err(|source| ServerError::Listen {
        path: path.into(),
        source,
    })
}

fn bind(path: &Path, owner: Owner) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Never open to others, not even between its making and a chmod. Nothing else makes files this early.
    let before = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    give(path, owner, 0o660)?;
    Ok(listener)
}

/// Gives a socket, or the folder that was made for it, to its owner; `shared` is its mode where a group may use it, too.
fn give(path: &Path, owner: Owner, shared: u32) -> io::Result<()> {
    if owner != Owner::default() {
        chown(path, Some(owner.uid), Some(owner.gid))?;
    }
    match owner.gid {
        0 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(shared)),
    }
}
