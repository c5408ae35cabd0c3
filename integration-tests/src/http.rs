//! One HTTP request over a unix socket, byte for byte as the test wants it, well-formed or not.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code; 0 where the peer closed the connection without an answer.
    pub status: u16,
    /// The header lines.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The `message` of Docker's error body.
    pub fn message(&self) -> String {
        let value: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        value["message"].as_str().unwrap_or(&self.body).to_owned()
    }
}

/// Sends `METHOD PATH` with a body of JSON (none where it is empty).
pub fn json(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    let length = body.len();
    // HTTP/1.0: the answer ends with the connection, so there are no chunks to decode.
    raw(
        socket,
        format!("{method} {path} HTTP/1.0\r\nHost: docker\r\n{kind}Content-Length: {length}\r\n\r\n{body}").as_bytes(),
    )
}

/// Sends these bytes and reads until the peer closes.
pub fn raw(socket: &Path, request: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("the engine listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a duration above zero");
    // A peer may refuse before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}
