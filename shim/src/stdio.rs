//! A process's standard streams: from the URIs of a request to the bytes that flow.
//!
//! [`Prepared`] holds everything that must exist before the runtime is called: pipes or a console socket, the FIFOs, the log and
//! the attach socket. [`Prepared::run`] turns it into [`Streams`] once the process exists.

mod attach;
mod console;
pub(crate) mod fd;
mod flow;
mod input;
mod logger;
mod output;
mod prepared;
mod record;
mod relay;
mod request;
mod streams;

use std::{io, os::fd::AsFd, path::Path};

use rustix::termios::Winsize;

pub use self::{
    attach::Attach,
    prepared::{Prepared, PreparedState},
    request::StdioRequest,
    streams::{Streams, StreamsState},
};

/// Streams that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// A URI that means nothing here.
    #[error(transparent)]
    Uri(#[from] davit_stdio::InvalidUri),
    /// A URI in the wrong place.
    #[error("unsupported {stream} {uri:?}: {reason}")]
    Unsupported {
        /// Which stream.
        stream: &'static str,
        /// As it was given.
        uri: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A log driver that cannot be set up.
    #[error(transparent)]
    Log(#[from] davit_logs::LogError),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// The runtime did not hand over the terminal.
    #[error("the runtime handed over no terminal on its console socket")]
    NoConsole,
    /// A logging program that failed.
    #[error("logging program {0} ended before it was ready")]
    Logger(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StdioError {
    let what = what.into();
    move |source| StdioError::Io { what, source }
}

/// Where the streams of a process belong.
pub struct Place<'a> {
    /// The container, for a logging program.
    pub container: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// A folder for the console socket, short enough for `sun_path`.
    pub sockets: &'a Path,
    /// Owner of the pipes.
    pub owner: (u32, u32),
    /// Starts logging programs.
    pub reaper: &'a std::sync::Arc<crate::reaper::Reaper>,
}

fn set_size(console: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(console, size)?)
}
