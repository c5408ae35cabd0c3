//! Messages on the wire: ten bytes of header and a payload.

use protobuf::Message;
use ttrpc::{Code, Request, Response, get_status, proto};

/// Length of a header in bytes.
pub const HEADER: usize = proto::MESSAGE_HEADER_LENGTH;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the payload in bytes.
    pub length: usize,
    /// Which call it belongs to.
    pub stream: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    Request,
    /// A part of a stream.
    Data,
    /// Something that a server ignores.
    Other,
}

impl Header {
    /// Reads the header.
    pub fn parse(bytes: &[u8; HEADER]) -> Self {
        let header = proto::MessageHeader::from(bytes);
        Self {
            length: header.length as usize,
            stream: header.stream_id,
            kind: match header.type_ {
                proto::MESSAGE_TYPE_REQUEST => Kind::Request,
                proto::MESSAGE_TYPE_DATA => Kind::Data,
                _ => Kind::Other,
            },
        }
    }
}

/// The message of an answer. One that is too long becomes an error: its client would take the connection for broken.
pub fn answer(stream: u32, response: &Response) -> Vec<u8> {
    let payload = encoded(response);
    let payload = match payload.len() {
        ..=proto::MESSAGE_LENGTH_MAX => payload,
        length => encoded(&refusal(Code::RESOURCE_EXHAUSTED, too_long(length))),
    };
    let mut message = Vec::from(proto::MessageHeader::new_response(stream, payload.len() as u32));
    message.extend_from_slice(&payload);
    message
}

fn encoded(response: &Response) -> Vec<u8> {
    response
        .write_to_bytes()
        .expect("a message without required fields serializes")
}

/// The answer to a call that is refused.
pub fn refusal(code: Code, text: impl Into<String>) -> Response {
    let mut response = Response::new();
    response.set_status(get_status(code, text.into()));
    response
}

/// What is said of a message that is too long, as containerd's ttrpc says it.
pub fn too_long(length: usize) -> String {
    format!(
        "message length {length} exceed maximum message size of {}",
        proto::MESSAGE_LENGTH_MAX
    )
}

/// Reads a call.
pub fn request(payload: &[u8]) -> Result<Request, Response> {
    Request::parse_from_bytes(payload)
        .map_err(|error| refusal(Code::INVALID_ARGUMENT, format!("cannot read the request: {error}")))
}
