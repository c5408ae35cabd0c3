//! Where output goes.

use std::{
    fs::{DirBuilder, OpenOptions},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use davit_logs::Source;
use davit_stdio::Stdio;
use rustix::fs::OFlags;
use tokio::io::unix::AsyncFd;

use super::{StdioError, attach::Attach, failed, fd::nonblocking, record::Recorder};

/// An opened destination.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    Null,
    /// Takes bytes when it is ready.
    Relay(AsyncFd<OwnedFd>),
    /// Takes bytes at once.
    Recorder(Recorder),
}

impl Output {
    /// Opens the destination that `uri` names.
    pub fn open(uri: &Stdio, attach: Option<&Arc<Attach>>, source: Source) -> Result<Self, StdioError> {
        match uri {
            // A logging program is started for both streams together, by who prepares them.
            Stdio::Null | Stdio::Attached | Stdio::Binary { .. } => Ok(Self::Null),
            Stdio::Fifo(path) => Ok(Self::Relay(open_fifo(path)?)),
            Stdio::File(path) => {
                let what = format!("cannot open {}", path.display());
                if let Some(folder) = path.parent() {
                    // As containerd's shim does. An error is told by the opening.
                    let _ = DirBuilder::new().recursive(true).mode(0o755).create(folder);
                }
                let file = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o644)
                    .open(path)
                    .map_err(failed(what))?;
                Ok(Self::Recorder(Recorder::File(file, false)))
            }
            Stdio::Log(_) => {
                let attach = attach.expect("a request with a log target opens its attach socket");
                attach.add_output();
                Ok(Self::Recorder(Recorder::Attach(attach.clone(), source)))
            }
        }
    }
}

/// Opens a FIFO for writing and, in the same descriptor, for reading.
///
/// With a reader of our own, a client that goes away neither fails the next write nor loses what is in the FIFO when it comes
/// back. As with any pipe, the writer waits once the FIFO is full.
fn open_fifo(path: &Path) -> Result<AsyncFd<OwnedFd>, StdioError> {
    let what = || format!("cannot open the FIFO {}", path.display());
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(failed(what()))?;
    let is_fifo = file.metadata().map_err(failed(what()))?.file_type().is_fifo();
    if !is_fifo {
        let uri = path.display().to_string();
        return Err(StdioError::Unsupported {
            stream: "output",
            uri,
            reason: "the path is not a FIFO",
        });
    }
    nonblocking(file.into()).map_err(failed(what()))
}
