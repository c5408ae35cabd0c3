//! Start, stop, kill, restart, rename, resize, remove, prune.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use davit_engine_containers::{ContainerError, Status};
use davit_engine_spec::signal;
use serde_json::{Value, json};

use crate::{
    engine::App,
    error::ApiError,
    request::{Filters, Params},
    router::empty,
};

/// `POST /containers/{id}/start`.
pub async fn start(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    if params.text("checkpoint").is_some() {
        return Err(ApiError::unsupported("starting from a checkpoint"));
    }
    let container = app.containers.find(&id)?;
    container.start().await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/stop`.
pub async fn stop(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    app.containers
        .stop(container, params.text("signal"), params.number("t")?)
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/restart`.
pub async fn restart(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    app.containers
        .restart(container, params.text("signal"), params.number("t")?)
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/kill`.
pub async fn kill(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    const SIGKILL: u32 = 9;
    let failed = |error: ContainerError| ApiError::new(error.kind(), format!("cannot kill container: {id}: {error}"));
    let container = app.containers.find(&id).map_err(failed)?;
    let invalid = |error| ApiError::invalid(format!("cannot kill container: {id}: {error}"));
    let signal = params
        .text("signal")
        .map(signal::parse)
        .transpose()
        .map_err(invalid)?
        .unwrap_or(SIGKILL);
    let own = container
        .record()
        .config
        .stop_signal
        .as_deref()
        .and_then(|text| signal::parse(text).ok());
    // A signal that ends it is meant for good: no restart policy acts then. Others are messages.
    let stops = signal == SIGKILL || signal == own.unwrap_or(15);
    container.signal(signal, stops).await.map_err(failed)?;
    if signal == SIGKILL {
        container.wait(davit_engine_containers::WaitCondition::NotRunning).await;
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/rename`.
pub async fn rename(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    let Some(name) = params.text("name") else {
        return Err(ApiError::invalid("Neither old nor new names may be empty"));
    };
    app.containers.rename(&container, name).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/{id}/resize`.
pub async fn resize(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    let (height, width) = size(&params)?;
    app.containers.resize(&container, height, width).await?;
    Ok(empty(StatusCode::OK))
}

/// Height and width of a terminal.
pub fn size(params: &Params) -> Result<(u32, u32), ApiError> {
    let side = |name: &str| params.number::<u16>(name).map(|side| u32::from(side.unwrap_or(0)));
    Ok((side("h")?, side("w")?))
}

/// `DELETE /containers/{id}`.
pub async fn remove(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    if params.flag("link") {
        return Err(ApiError::unsupported("removing a link"));
    }
    let container = app.containers.find(&id)?;
    // `v` removes anonymous volumes: a container has none here.
    app.containers.remove(container, params.flag("force")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /containers/prune`.
pub async fn prune(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let filters = Filters::read(&params, &["label"])?;
    let (mut deleted, mut bytes) = (Vec::new(), 0);
    for record in app.containers.list() {
        let at_rest = matches!(record.state.status, Status::Created | Status::Exited);
        if !at_rest || !filters.labels_match(&record.config.labels) {
            continue;
        }
        let size = app.containers.written_bytes(&record.id).await.unwrap_or(0);
        let Ok(container) = app.containers.find(&record.id) else {
            continue;
        };
        if app.containers.remove(container, false).await.is_ok() {
            deleted.push(record.id.to_string());
            bytes += size;
        }
    }
    let deleted = if deleted.is_empty() {
        Value::Null
    } else {
        json!(deleted)
    };
    Ok(Json(json!({ "ContainersDeleted": deleted, "SpaceReclaimed": bytes })))
}
