//! The daemon's sockets, and what is served on them.

use std::{
    fs, io,
    os::unix::{fs::DirBuilderExt, fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{fs::Mode, process::umask};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

use crate::{
    config::Config,
    daemon::{Daemon, OpenError},
    forward, services,
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
/// The sockets are there before the shims of an earlier run are found again, so that no client is refused meanwhile: it
/// waits. So do the shims with the events that they have kept.
pub async fn serve(config: Config, stop: CancellationToken) -> Result<(), ServerError> {
    make_folder(&config.root, 0o711)?;
    make_folder(&config.state, 0o711)?;
    let calls = listen(&config.address)?;
    let forwarded = listen(&config.ttrpc_address())?;
    let daemon = Daemon::open(config, stop)?;
    // Served until the process ends: an event that is not acknowledged then is kept by its shim.
    let _forwarding = forward::serve(forwarded, daemon.recorder.clone(), daemon.tasks.clone()).await?;
    daemon.tasks.restore().await.map_err(ServerError::Restore)?;
    serve_calls(&daemon, calls).await
}

async fn serve_calls(daemon: &Daemon, listener: UnixListener) -> Result<(), ServerError> {
    let server = Server::builder()
        .add_routes(routes(daemon)?)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), daemon.stop.clone().cancelled_owned());
    tracing::info!(address = %daemon.config.address.display(), version = crate::version::PROGRAM, "serving");
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

/// Every service.
fn routes(daemon: &Daemon) -> Result<Routes, ServerError> {
    let streams = services::streaming::Streams::default();
    let mut routes = Routes::builder();
    routes
        .add_service(services::version::service())
        .add_service(services::health::service())
        .add_service(services::introspection::service(daemon).map_err(ServerError::Identity)?)
        .add_service(services::namespaces::service(daemon))
        .add_service(services::containers::service(daemon))
        .add_service(services::content::service(&daemon.storage))
        .add_service(services::snapshots::service(&daemon.storage))
        .add_service(services::diff::service(&daemon.storage))
        .add_service(services::images::service(&daemon.storage))
        .add_service(services::leases::service(&daemon.storage))
        .add_service(services::streaming::service(streams.clone()))
        .add_service(services::transfer::service(&daemon.storage, streams))
        .add_service(services::tasks::service(daemon))
        .add_service(services::events::service(daemon));
    Ok(routes.routes())
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

/// A listening socket that only its owner may use. One left behind by a dead daemon is replaced, a live one is not.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, ServerError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make_folder(folder, 0o700)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(ServerError::InUse(path.into()));
    }
    bind(path).map_err(|source| ServerError::Listen {
        path: path.into(),
        source,
    })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
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
    Ok(listener)
}
