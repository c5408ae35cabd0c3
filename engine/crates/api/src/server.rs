//! Serving the API on a unix socket.

use std::{future::Future, sync::Arc};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

use crate::{
    engine::Engine,
    router::{answer, routes},
};

/// Serves until `shutdown` is ready. Connections that are open then go on as long as the process does.
pub async fn serve(listener: UnixListener, engine: Arc<Engine>, shutdown: impl Future<Output = ()>) {
    let router = routes(engine);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(serve_connection(stream, router.clone()))),
            Err(error) => {
                // Out of files, most likely: waiting is all that helps.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(stream: UnixStream, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let request: Request = request.map(Body::new);
        answer(router.clone(), request)
    });
    // Half-close: a client that has no input closes its side at once, and reads on.
    let connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        debug!(%error, "a connection ended");
    }
}
