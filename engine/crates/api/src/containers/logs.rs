use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use davit_engine_containers::{
    Container, ContainerError,
    logs::{self, LogLine, LogQuery, LogStream},
};
use davit_engine_spec::LogDriver;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    engine::App,
    error::ApiError,
    request::{Client, Params},
    streams::{media_type, stdcopy},
};

/// `GET /containers/{id}/logs`.
pub async fn logs(
    State(app): State<App>,
    Path(id): Path<String>,
    client: Client,
    params: Params,
) -> Result<Response, ApiError> {
    let container = app.containers.find(&id)?;
    if params.flag("details") {
        return Err(ApiError::unsupported("details of log lines"));
    }
    let tail = match params.text("tail") {
        None | Some("all") => None,
        // Docker takes what is no number for "all".
        Some(text) => text.parse().ok(),
    };
    let query = LogQuery {
        stdout: params.flag("stdout"),
        stderr: params.flag("stderr"),
        since: time(&params, "since")?,
        until: time(&params, "until")?,
        tail,
        follow: params.flag("follow"),
    };
    if !query.stdout && !query.stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let tty = container.record().config.tty;
    let lines = read(&app, container, query, params.flag("timestamps"))?;
    let mut response = Response::new(Body::from_stream(lines));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type(tty, client.0)));
    Ok(response)
}

/// The log as a client takes it: framed, or as it is where there is a terminal.
pub fn read(
    app: &App,
    container: std::sync::Arc<Container>,
    query: LogQuery,
    timestamps: bool,
) -> Result<impl futures::Stream<Item = Result<Bytes, ContainerError>> + use<>, ApiError> {
    let record = container.record();
    if record.host.log.driver == LogDriver::None {
        return Err(ContainerError::LogsNotReadable.into());
    }
    let path = app.containers.paths().log(&record.id);
    let tty = record.config.tty;
    let lines = ReceiverStream::new(logs::read(container, path, query));
    // Many lines a chunk: what waits goes out together.
    let chunks = lines.ready_chunks(64).map(move |lines| {
        let mut bytes = Vec::new();
        for line in lines {
            write(&mut bytes, &line?, tty, timestamps);
        }
        Ok(Bytes::from(bytes))
    });
    Ok(chunks)
}

fn write(bytes: &mut Vec<u8>, line: &LogLine, tty: bool, timestamps: bool) {
    let stamp = if timestamps {
        format!("{:.9} ", line.time)
    } else {
        String::new()
    };
    if !tty {
        let stream = match line.stream {
            LogStream::Stdout => stdcopy::STDOUT,
            LogStream::Stderr => stdcopy::STDERR,
        };
        bytes.extend(stdcopy::header(stream, stamp.len() + line.text.len()));
    }
    bytes.extend_from_slice(stamp.as_bytes());
    bytes.extend_from_slice(&line.text);
}

/// `since` and `until`: seconds since 1970, with a fraction; 0 for none.
pub fn time(params: &Params, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let invalid = || ApiError::invalid(format!("invalid value for \"{name}\": {text:?}"));
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let nanoseconds: i32 = format!("{fraction:0<9.9}").parse().map_err(|_| invalid())?;
    let time = Timestamp::new(seconds, nanoseconds).map_err(|_| invalid())?;
    Ok((seconds != 0 || nanoseconds != 0).then_some(time))
}
