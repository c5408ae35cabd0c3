//! What an operator looks at, over HTTP: metrics on the address of `[metrics]`, and the debug socket.
//!
//! Of containerd's debug socket, `/debug/vars` is here, and `/debug/tasks` in the place of the list of goroutines. Its
//! profiles are those of Go's runtime, which is not here: they are refused with a word on what to use.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use davit_metadata::{Database, namespaces};
use davit_tasks::Tasks;
use davit_vocabulary::Namespace;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::{MEDIA_TYPE, Metrics},
    services::blocking,
    version,
};

type Answer = Response<Full<Bytes>>;

/// How many may look at once, at metrics and at the debug socket each.
const PLACES: usize = 64;

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which of the two it is.
#[derive(Clone)]
enum Desk {
    Metrics(Metrics),
    Debug { tasks: Arc<Tasks>, database: Arc<Database> },
}

/// Serves metrics on a TCP address until the daemon stops.
///
/// # Errors
/// Nobody can listen there.
pub async fn serve_metrics(address: SocketAddr, metrics: Metrics, stop: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(%address, "metrics are served");
    let desk = Desk::Metrics(metrics);
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let places = places();
        loop {
            let place = places.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => attend(stream, desk.clone(), place),
                Err(error) => rest(&error).await,
            }
        }
    }));
    Ok(())
}

/// Serves the debug socket until the daemon stops.
pub fn serve_debug(listener: UnixListener, tasks: Arc<Tasks>, database: Arc<Database>, stop: CancellationToken) {
    let desk = Desk::Debug { tasks, database };
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        let places = places();
        loop {
            let place = places.clone().acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => attend(stream, desk.clone(), place),
                Err(error) => rest(&error).await,
            }
        }
    }));
}

/// Whoever looks at the daemon must not take the descriptors that it works with.
fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PLACES))
}

/// The right to one connection; the semaphore is never closed, so there is one.
type Place = Result<OwnedSemaphorePermit, AcquireError>;

/// Out of descriptors, mostly: the next attempt would fail at once.
async fn rest(error: &io::Error) {
    tracing::warn!(%error, "accept a connection");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

fn attend(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, desk: Desk, place: Place) {
    let service = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&desk, &request).await) }
    });
    tokio::spawn(async move {
        let mut builder = hyper::server::conn::http1::Builder::new();
        // One request is what there is to ask. Who does not ask, or does not read, is not waited for.
        let connection = builder
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(PATIENCE, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection for inspection"),
            Err(_) => tracing::debug!("a connection for inspection took too long"),
        }
        drop(place);
    });
}

async fn answer(desk: &Desk, request: &Request<Incoming>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is offered\n");
        refused.headers_mut().insert(ALLOW, "GET, HEAD".parse().expect("ASCII"));
        return refused;
    }
    match (desk, request.uri().path()) {
        (Desk::Metrics(metrics), "/v1/metrics") => typed(MEDIA_TYPE, metrics.text().await),
        (Desk::Debug { tasks, .. }, "/debug/vars") => typed("application/json; charset=utf-8", variables(tasks)),
        (Desk::Debug { tasks, database }, "/debug/tasks") => match list(tasks, database).await {
            Ok(list) => typed("application/json; charset=utf-8", list),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        },
        (Desk::Debug { .. }, path) if path.starts_with("/debug/pprof") => text(
            StatusCode::NOT_IMPLEMENTED,
            "profiles of Go's runtime are not offered: this program is none of Go's; perf(1) profiles it\n",
        ),
        (Desk::Metrics(_), _) => text(StatusCode::NOT_FOUND, "404 page not found: there is /v1/metrics\n"),
        (Desk::Debug { .. }, _) => text(
            StatusCode::NOT_FOUND,
            "404 page not found: there are /debug/vars and /debug/tasks\n",
        ),
    }
}

fn variables(tasks: &Tasks) -> String {
    let words: Vec<_> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let variables = json!({
        "cmdline": words,
        "version": version::PROGRAM,
        "pid": std::process::id(),
        "memory": {
            "resident_kilobytes": kilobytes("VmRSS:"),
            "peak_kilobytes": kilobytes("VmHWM:"),
            "virtual_kilobytes": kilobytes("VmSize:"),
        },
        "threads": kilobytes("Threads:"),
        "returning_shims": tasks.returning(),
    });
    format!("{variables:#}\n")
}

/// The tasks that this daemon has shims of, by namespace; no shim is asked.
async fn list(tasks: &Tasks, database: &Arc<Database>) -> Result<String, davit_metadata::StoreError> {
    let database = database.clone();
    let namespaces = blocking(move || database.read(namespaces::list)).await?;
    let mut listed = serde_json::Map::new();
    for namespace in namespaces
        .into_iter()
        .filter_map(|(name, _)| name.parse::<Namespace>().ok())
    {
        let shims = tasks.list(&namespace);
        let shims: Vec<_> = shims
            .iter()
            .map(|shim| json!({"id": shim.bundle.id.as_str(), "bundle": shim.bundle.path}))
            .collect();
        listed.insert(namespace.to_string(), shims.into());
    }
    Ok(format!("{:#}\n", serde_json::Value::Object(listed)))
}

fn typed(media_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::from(body));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, media_type.parse().expect("ASCII"));
    answer
}

fn text(status: StatusCode, body: &str) -> Answer {
    let mut answer = typed("text/plain; charset=utf-8", body.to_owned());
    *answer.status_mut() = status;
    answer
}
