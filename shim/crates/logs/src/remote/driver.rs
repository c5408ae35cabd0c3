//! What drivers have in common.

use std::io;

use super::Connection;
use crate::{options::Options, record::Record};

/// Makes messages of records and sends them.
pub(crate) trait Driver: Send + 'static {
    /// Appends the message; nothing, where the record is not worth one.
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>);

    /// Sends a message. On an error it is sent again, to a new connection.
    fn send(&mut self, connection: &mut Connection, message: &[u8]) -> impl Future<Output = io::Result<()>> + Send {
        connection.send(message)
    }
}

/// How a container names itself to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// The container's id.
    pub id: String,
    /// The option `tag`, or else the short id.
    pub tag: String,
    /// The host's name.
    pub host: String,
}

impl Identity {
    pub fn new(container: &str, options: &mut Options) -> Self {
        Self {
            id: container.into(),
            tag: options.text("tag").unwrap_or_else(|| short(container).into()),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

/// An id as Docker shortens it.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
