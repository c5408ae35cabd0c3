//! The daemon's sockets, and what is served on them.

use std::{
    fs, io,
    os::unix::{fs::DirBuilderExt, fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{service::Routes, transport::Server};

use crate::{config::Config, events::EventBus, services};

/// How long open calls may take to end once the daemon is asked to stop. Waits and subscriptions never end by themselves.
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
    /// Serving ended with an error.
    #[error("serve gRPC")]
    Serve(#[from] tonic::transport::Error),
}

/// Serves until `stop` is cancelled, then lets open calls end for a moment.
pub async fn serve(config: &Config, stop: CancellationToken) -> Result<(), ServerError> {
    make_folder(&config.root, 0o711)?;
    make_folder(&config.state, 0o711)?;
    let listener = listen(&config.address)?;
    let events = EventBus::new();
    let server = Server::builder()
        .add_routes(routes(config, events))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
    tracing::info!(address = %config.address.display(), version = crate::version::PROGRAM, "serving");
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => return Ok(result?),
        () = stop.cancelled() => {}
    }
    match tokio::time::timeout(DRAIN, server).await {
        Ok(result) => Ok(result?),
        Err(_) => {
            tracing::info!("open calls are cut off");
            Ok(())
        }
    }
}

/// Every service, in the order of the design.
fn routes(_config: &Config, _events: EventBus) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(services::version::service());
    routes.routes()
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
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
