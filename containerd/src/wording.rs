//! What the gRPC library refuses by itself, in the words and with the codes of containerd's.
//!
//! Clients of containerd know an unknown method by UNIMPLEMENTED and its name, and a message that is too large by
//! RESOURCE_EXHAUSTED; tonic says nothing in the first case and OUT_OF_RANGE in the second.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::BodyExt as _;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
};
use tower::{Layer, Service};

/// The services that there are, by their full names.
#[derive(Clone, Debug, Default)]
pub struct Wording {
    services: Arc<BTreeSet<&'static str>>,
}

impl Wording {
    /// The wording of a server with these services.
    pub fn new(services: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            services: Arc::new(services.into_iter().collect()),
        }
    }

    /// Says what was not found where nothing is said.
    fn name(&self, path: &str, headers: &mut HeaderMap) {
        let refused = Status::from_header_map(headers);
        let is_silent = |status: &Status| status.code() == Code::Unimplemented && status.message().is_empty();
        if refused.as_ref().is_none_or(|status| !is_silent(status)) {
            return;
        }
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        let text = match self.services.contains(service) {
            true => format!("unknown method {method} for service {service}"),
            false => format!("unknown service {service}"),
        };
        put(headers, &Status::unimplemented(text));
    }
}

/// Says in containerd's words that a message is too large, where that is what is said.
fn reword(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers).filter(|status| status.code() == Code::OutOfRange) else {
        return;
    };
    if let Some(text) = too_large(status.message()) {
        put(headers, &Status::resource_exhausted(text));
    }
}

fn too_large(said: &str) -> Option<String> {
    let rest = said.strip_prefix("Error, ")?;
    let (direction, sizes) = rest.split_once(" message length too large: found ")?;
    let (found, limit) = sizes.split_once(" bytes, the limit is: ")?;
    let what = match direction {
        "decoded" => "grpc: received message larger than max",
        _ => "grpc: trying to send message larger than max",
    };
    Some(format!("{what} ({found} vs. {})", limit.trim_end_matches(" bytes")))
}

fn put(headers: &mut HeaderMap, status: &Status) {
    headers.remove("grpc-message");
    headers.remove("grpc-status-details-bin");
    if let Err(error) = status.add_header(headers) {
        tracing::warn!(%error, "a status stays without words");
    }
}

impl<S> Layer<S> for Wording {
    type Service = Reworded<S>;

    fn layer(&self, inner: S) -> Reworded<S> {
        Reworded {
            inner,
            wording: self.clone(),
        }
    }
}

/// A server whose refusals are reworded.
#[derive(Clone, Debug)]
pub struct Reworded<S> {
    inner: S,
    wording: Wording,
}

impl<S, B> Service<Request<B>> for Reworded<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (wording, path) = (self.wording.clone(), request.uri().path().to_owned());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            wording.name(&path, answer.headers_mut());
            reword(answer.headers_mut());
            Ok(answer.map(|body| {
                Body::new(body.map_frame(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        reword(trailers);
                    }
                    frame
                }))
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: &Status) -> HeaderMap {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        headers
    }

    #[test]
    fn what_is_not_there_is_named() {
        let wording = Wording::new(["a.B"]);
        for (path, words) in [
            ("/a.B/Get", "unknown method Get for service a.B"),
            ("/c.D/Get", "unknown service c.D"),
        ] {
            let mut headers = said(&Status::unimplemented(""));
            wording.name(path, &mut headers);
            assert_eq!(Status::from_header_map(&headers).unwrap().message(), words);
        }
        let mut headers = said(&Status::unimplemented("has words"));
        wording.name("/c.D/Get", &mut headers);
        assert_eq!(Status::from_header_map(&headers).unwrap().message(), "has words");
    }

    #[test]
    fn a_message_that_is_too_large_exhausts_a_resource() {
        let text = "Error, decoded message length too large: found 17 bytes, the limit is: 16 bytes";
        let mut headers = said(&Status::out_of_range(text));
        reword(&mut headers);
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (17 vs. 16)");
        let mut headers = said(&Status::out_of_range("read past object length 5 bytes"));
        reword(&mut headers);
        assert_eq!(Status::from_header_map(&headers).unwrap().code(), Code::OutOfRange);
    }
}
