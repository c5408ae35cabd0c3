//! Where output goes.

use std::{
    fs::{self, DirBuilder, OpenOptions},
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
            Stdio::File(path) => open_file(path),
            Stdio::Log(_) => {
                let attach = attach.expect("a request with a log target opens its attach socket");
                attach.add_output();
                Ok(Self::Recorder(Recorder::Attach(attach.clone(), source)))
            }
        }
    }
}

/// Opens a file, makes it with its folder where it is missing, or opens a FIFO or a device that is there under its name.
fn open_file(path: &Path) -> Result<Output, StdioError> {
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return open_fifo(path).map(Output::Relay);
    }
    if let Some(folder) = path.parent() {
        // As containerd's shim does. An error is told by the opening.
        let _ = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    }
    // A device that takes nothing now loses output; it must not stop the shim.
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path);
    let file = opened.map_err(failed(format!("cannot open {}", path.display())))?;
    Ok(Output::Recorder(Recorder::File(file, false)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::fd::read;

    fn opened(path: &Path) -> Output {
        Output::open(&Stdio::File(path.into()), None, Source::Stdout).unwrap()
    }

    #[tokio::test]
    async fn a_file_may_be_a_fifo_whose_reader_comes_late_or_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let Output::Relay(sink) = opened(&path) else {
            panic!("it is taken for a file")
        };
        rustix::io::write(sink.get_ref(), b"text").unwrap();
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(&path)
            .unwrap();
        let reader = nonblocking(reader.into()).unwrap();
        assert_eq!(read(&reader, <[u8]>::to_vec).await.unwrap(), b"text");
        assert!(matches!(opened(Path::new("/dev/null")), Output::Recorder(_)));
    }
}
