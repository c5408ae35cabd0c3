//! The channel to the manager. It connects by itself, again and again, and lets calls wait while the manager restarts.

use std::{io, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, time::Instant};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// How long a call waits for a manager that is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest message that containerd sends, in bytes. (tonic's own limit of 4 MiB holds for what we receive; lists are paged.)
const WINDOW: u32 = 4 << 20;

/// A channel to this socket. Makes no connection yet.
pub fn connect(socket: PathBuf) -> Channel {
    // The address is not used: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://manager")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| patiently(socket.clone())))
}

async fn patiently(socket: PathBuf) -> io::Result<TokioIo<UnixStream>> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(5);
    loop {
        match UnixStream::connect(&socket).await {
            Ok(stream) => return Ok(TokioIo::new(stream)),
            Err(error) if Instant::now() + pause >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
