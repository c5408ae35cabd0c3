//! A gRPC channel to a manager's socket, for what no command line asks.

use std::path::Path;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tower::service_fn;

/// Connects to a manager.
pub async fn to(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    // The address is not used: the connector knows the socket.
    let endpoint = Endpoint::from_static("http://manager");
    let channel = endpoint.connect_with_connector(connector).await;
    channel.expect("the manager listens")
}

/// Puts a request into the namespace that `ctr` uses where none is given.
pub fn in_the_namespace(mut request: Request<()>) -> Result<Request<()>, Status> {
    let namespace = "default".parse().expect("ASCII");
    request.metadata_mut().insert("containerd-namespace", namespace);
    Ok(request)
}
