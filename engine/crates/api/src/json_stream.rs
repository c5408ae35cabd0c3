//! Progress of a pull or a load: JSON objects, one a line, while it lasts.

use axum::{
    body::Body,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use davit_engine_images::{ImageError, Progress};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use crate::error::ApiError;

/// A pull, load or import under way, and the lines it ends with. It ends with the answer: a client that goes away cancels it.
pub type Work = AbortOnDropHandle<Result<Vec<Value>, ImageError>>;

/// Answers with the progress of `work`. A failure before the first line is an answer of its own; later ones are a line.
pub async fn answer(work: Work, mut progress: mpsc::Receiver<Progress>, quiet: bool) -> Result<Response, ApiError> {
    let first = progress.recv().await;
    if first.is_none() {
        // Over without a word: done, or failed at once.
        let lines = finish(work).await?;
        return Ok(respond(Body::from(lines.iter().map(line).collect::<String>())));
    }
    let head = stream::iter(first).chain(ReceiverStream::new(progress));
    let head = head.filter_map(move |progress| {
        // Quiet leaves out the progress of layers, not what came of it.
        let is_progress = matches!(progress, Progress::Layer { .. });
        let shown = if quiet && is_progress { None } else { show(&progress) };
        std::future::ready(shown.map(|value| line(&value)))
    });
    let tail = stream::once(async move {
        match finish(work).await {
            Ok(lines) => lines.iter().map(line).collect(),
            Err(error) => line(&json!({ "errorDetail": { "message": error.message }, "error": error.message })),
        }
    });
    let lines = head.chain(tail).map(Ok::<_, std::convert::Infallible>);
    Ok(respond(Body::from_stream(lines)))
}

async fn finish(work: Work) -> Result<Vec<Value>, ApiError> {
    match work.await {
        Ok(result) => Ok(result?),
        Err(_) => Err(davit_engine_containers::ContainerError::ShuttingDown.into()),
    }
}

fn respond(body: Body) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn line(value: &Value) -> String {
    format!("{value}\r\n")
}

fn show(progress: &Progress) -> Option<Value> {
    Some(match progress {
        Progress::PullingFrom { tag, repository } => {
            json!({ "status": format!("Pulling from {repository}"), "id": tag })
        }
        Progress::Layer { id, state } => match state.bytes() {
            Some((current, total)) => json!({
                "status": state.text(), "progressDetail": { "current": current, "total": total }, "id": id,
            }),
            None => json!({ "status": state.text(), "progressDetail": {}, "id": id }),
        },
        Progress::Digest(digest) => json!({ "status": format!("Digest: {digest}") }),
        Progress::Status(text) => json!({ "status": text }),
        Progress::Stream(text) => json!({ "stream": format!("{text}\n") }),
    })
}
