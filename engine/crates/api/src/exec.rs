//! `/exec/…` and the making of execs.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequest as _, Path, Request, State},
    http::StatusCode,
    response::Response,
};
use davit_engine_containers::{ContainerError, Exec};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    containers::life::size,
    convert,
    engine::App,
    error::ApiError,
    request::{Body, Client, OptionalBody, Params},
    router::empty,
    streams::{detach::DetachKeys, hijack, media_type, session::Session, stdcopy},
    wire::exec::{CreateExec, StartExec},
};

/// `POST /containers/{id}/exec`.
pub async fn create(
    State(app): State<App>,
    Path(id): Path<String>,
    Body(body): Body<CreateExec>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let container = app.containers.find(&id)?;
    let config = convert::exec_config(body)?;
    DetachKeys::parse(&config.detach_keys)?;
    let exec = app.containers.create_exec(&container, config).await?;
    Ok((StatusCode::CREATED, Json(json!({ "Id": exec.id.as_str() }))))
}

/// `POST /exec/{id}/start`.
pub async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    client: Client,
    request: Request,
) -> Result<Response, ApiError> {
    let exec = app.containers.exec(&id)?;
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let body = Request::from_parts(parts.clone(), body);
    let OptionalBody(body) = OptionalBody::<StartExec>::from_request(body, &()).await?;
    if body.detach {
        app.containers.claim_exec(&exec)?;
        app.containers.start_exec(&exec, body.console_size, false).await?;
        return Ok(empty(StatusCode::OK));
    }
    let mut request = Request::from_parts(parts, axum::body::Body::empty());
    if let Some(upgrade) = upgrade {
        request.extensions_mut().insert(upgrade);
    }
    if !hijack::is_wanted(&request) {
        return Err(ApiError::unsupported(
            "starting an exec without 'Connection: Upgrade' and 'Upgrade: tcp'",
        ));
    }
    app.containers.claim_exec(&exec)?;
    let (response, upgrade) = hijack::begin(&mut request, media_type(exec.config.tty, client.0));
    tokio::spawn(attached(app, exec, body.console_size, upgrade));
    Ok(response)
}

/// Runs an exec on a hijacked connection. Failures go into the stream: the head of the answer is gone.
async fn attached(app: App, exec: Arc<Exec>, console_size: [u64; 2], upgrade: OnUpgrade) {
    let result = app.containers.start_exec(&exec, console_size, true).await;
    let Ok(upgraded) = upgrade.await else { return };
    let (client_in, mut client_out) = tokio::io::split(TokioIo::new(upgraded));
    let connection = match result {
        Ok(Some(connection)) => connection,
        Ok(None) => return,
        Err(error) => return tell(&mut client_out, &exec, &error).await,
    };
    let session = Session {
        attach: exec.config.attach,
        tty: exec.config.tty,
        closes_stdin: true,
        detach_keys: DetachKeys::parse(&exec.config.detach_keys).unwrap_or_else(|_| DetachKeys::standard()),
    };
    // The client asks for the exit code as soon as the stream ends: it must be known by then.
    session.run_until(connection, client_in, client_out, exec.ended()).await;
}

async fn tell(client: &mut (impl tokio::io::AsyncWrite + Unpin), exec: &Exec, error: &ContainerError) {
    let text = format!("{error}\r\n");
    let mut bytes = Vec::new();
    if !exec.config.tty {
        bytes.extend(stdcopy::header(stdcopy::STDOUT, text.len()));
    }
    bytes.extend(text.as_bytes());
    // A client that has gone need not be told.
    let _ = client.write_all(&bytes).await;
    let _ = client.shutdown().await;
}

/// `GET /exec/{id}/json`.
pub async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let exec = app.containers.exec(&id)?;
    let (config, state) = (&exec.config, exec.state());
    let mut process = json!({
        "tty": config.tty,
        "entrypoint": config.cmd.first(),
        "arguments": config.cmd.get(1..).unwrap_or_default(),
        "privileged": config.privileged,
    });
    if !config.user.is_empty() {
        process["user"] = json!(config.user);
    }
    Ok(Json(json!({
        "ID": exec.id.as_str(),
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": process,
        "OpenStdin": config.attach.stdin,
        "OpenStderr": config.attach.stderr,
        "OpenStdout": config.attach.stdout,
        "CanRemove": false,
        "ContainerID": exec.container.as_str(),
        "DetachKeys": config.detach_keys,
        "Pid": state.pid,
    })))
}

/// `POST /exec/{id}/resize`.
pub async fn resize(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let exec = app.containers.exec(&id)?;
    let (height, width) = size(&params)?;
    app.containers.resize_exec(&exec, height, width).await?;
    Ok(empty(StatusCode::OK))
}
