use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use davit_engine_containers::WaitCondition;
use futures::stream;
use serde_json::json;

use crate::{engine::App, error::ApiError, request::Params};

/// `POST /containers/{id}/wait`. The head goes out at once: a client starts the container when it has seen it.
pub async fn wait(State(app): State<App>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let condition = match params.text("condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => return Err(ApiError::invalid(format!("invalid condition: {other:?}"))),
    };
    let container = app.containers.find(&id)?;
    let ended = container.wait(condition);
    let body = stream::once(async move {
        let exit = ended.await;
        Ok::<_, std::io::Error>(format!("{}\n", json!({ "StatusCode": exit.code })))
    });
    let mut response = Response::new(Body::from_stream(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
