//! Serving the API on a unix socket.

use std::{
    convert::Infallible,
    future::Future,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

use crate::{
    engine::Engine,
    router::{answer, routes},
    unread,
};

/// How often a connection is looked at for a client that is gone.
const LOOK_FOR_HANG_UP: Duration = Duration::from_secs(1);

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
        let router = router.clone();
        async move {
            let (parts, body) = request.into_parts();
            let (body, rest) = unread::watch(body);
            let response = answer(router, Request::from_parts(parts, Body::new(body))).await?;
            if response.status().is_client_error() || response.status().is_server_error() {
                rest.forget().await;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let Ok(watched) = stream.as_fd().try_clone_to_owned() else {
        return;
    };
    // Half-close: a client that has no input closes its side at once, and reads on.
    let connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            debug!(%error, "a connection ended");
        },
        () = hung_up(&watched) => debug!("a client hung up"),
    }
}

/// Returns when the client has closed both directions. With half-close its end of input says nothing of that, and an answer that
/// waits (`wait`, `logs -f`, `events`) would find out only when it has something to say.
async fn hung_up(socket: &OwnedFd) {
    let mut tick = tokio::time::interval(LOOK_FOR_HANG_UP);
    loop {
        tick.tick().await;
        let mut polled = [PollFd::new(socket, PollFlags::empty())];
        let now = Timespec::default();
        if poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(PollFlags::HUP) {
            return;
        }
    }
}
