//! Turning an HTTP connection into a plain two-way byte stream.

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE, UPGRADE},
    },
    response::Response,
};
use hyper::{ext::ReasonPhrase, upgrade::OnUpgrade};

/// Whether the client asks for the connection itself.
pub fn is_wanted(request: &Request) -> bool {
    let upgrade = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|value| value.eq_ignore_ascii_case("tcp"))
}

/// The answer after which the connection is the stream's, and the connection to come.
pub fn begin(request: &mut Request, media_type: &'static str) -> (Response, OnUpgrade) {
    let upgrade = hyper::upgrade::on(request);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    (response, upgrade)
}
