use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use davit_engine_containers::{Container, ContainerError, PendingAttach, attach::Connection, logs::LogQuery};
use davit_engine_spec::Attach;
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;

use super::logs;
use crate::{
    engine::App,
    error::ApiError,
    request::{Client, Params},
    streams::{detach::DetachKeys, hijack, media_type, session::Session},
};

/// `POST /containers/{id}/attach`.
pub async fn attach(
    State(app): State<App>,
    Path(id): Path<String>,
    client: Client,
    params: Params,
    mut request: Request,
) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    let config = container.record().config.clone();
    let session = Session {
        attach: Attach {
            stdin: params.flag("stdin") && config.open_stdin,
            stdout: params.flag("stdout"),
            stderr: params.flag("stderr"),
        },
        tty: config.tty,
        closes_stdin: config.stdin_once,
        detach_keys: DetachKeys::parse(params.text("detachKeys").unwrap_or_default())?,
    };
    let live = match params.flag("stream") {
        true => Some(Live::begin(&container).await?),
        false => None,
    };
    let past = match params.flag("logs") {
        true => Some(logs::read(&app, container, everything(session.attach), false)?),
        false => None,
    };
    let media_type = media_type(config.tty, client.0);
    if !hijack::is_wanted(&request) {
        return plain(session, live, past, media_type);
    }
    let (response, upgrade) = hijack::begin(&mut request, media_type);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let (client_in, mut client_out) = tokio::io::split(TokioIo::new(upgraded));
        if copy_past(past, &mut client_out).await.is_err() {
            return;
        }
        match connected(live).await {
            Ok(Some(connection)) => session.run(connection, client_in, client_out).await,
            Ok(None) => drop(client_out.shutdown().await),
            Err(error) => drop(client_out.write_all(format!("{error}\r\n").as_bytes()).await),
        }
    });
    Ok(response)
}

/// The live streams: there already, or when the container starts.
enum Live {
    Connected(Connection),
    Pending(PendingAttach),
}

impl Live {
    /// A failure on a container that runs is told before anything else; one that does not run is waited for later.
    async fn begin(container: &Container) -> Result<Self, ApiError> {
        let running = container.record().state.is_running();
        let pending = container.attach().await?;
        if !running {
            return Ok(Self::Pending(pending));
        }
        match pending.connected().await? {
            Some(connection) => Ok(Self::Connected(connection)),
            None => Err(ContainerError::NoSuchContainer(container.id.to_string()).into()),
        }
    }
}

async fn connected(live: Option<Live>) -> Result<Option<Connection>, ContainerError> {
    match live {
        Some(Live::Connected(connection)) => Ok(Some(connection)),
        Some(Live::Pending(pending)) => pending.connected().await,
        None => Ok(None),
    }
}

fn everything(attach: Attach) -> LogQuery {
    LogQuery {
        stdout: attach.stdout,
        stderr: attach.stderr,
        since: None,
        until: None,
        tail: None,
        follow: false,
    }
}

type Chunks = Result<Bytes, ContainerError>;

async fn copy_past(
    past: Option<impl futures::Stream<Item = Chunks>>,
    client: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let Some(past) = past else { return Ok(()) };
    let mut past = std::pin::pin!(past);
    while let Some(Ok(chunk)) = past.next().await {
        client.write_all(&chunk).await?;
    }
    client.flush().await
}

/// Without an upgrade the answer is output alone; input has no way in.
fn plain(
    session: Session,
    live: Option<Live>,
    past: Option<impl futures::Stream<Item = Chunks> + Send + 'static>,
    media_type: &'static str,
) -> Result<Response, ApiError> {
    if session.attach.stdin {
        return Err(ApiError::unsupported(
            "attaching stdin without 'Connection: Upgrade' and 'Upgrade: tcp'",
        ));
    }
    let (reader, mut writer) = tokio::io::simplex(64 << 10);
    tokio::spawn(async move {
        if copy_past(past, &mut writer).await.is_err() {
            return;
        }
        if let Ok(Some(connection)) = connected(live).await {
            session.run(connection, tokio::io::empty(), writer).await;
        }
    });
    let mut response = Response::new(Body::from_stream(tokio_util::io::ReaderStream::new(reader)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}
