//! Where output goes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

use davit_logs::Source;
use davit_luggage::{Bytes, Fd, Packing, Unpacking};
use davit_stdio::Stdio;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::{
    StdioError,
    attach::Attach,
    failed,
    fd::{nonblocking, watch},
    record::{RecordPlace, Recorder},
};

/// An opened destination.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    Null,
    /// Takes bytes when it is ready: the sink, unless nobody can read there any more, and bytes that come first.
    Relay(Option<Arc<AsyncFd<OwnedFd>>>, Vec<u8>),
    /// Takes bytes at once.
    Recorder(Recorder),
}

/// A destination on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub enum OutputState {
    /// Nowhere.
    Null,
    /// Takes bytes when it is ready.
    Relay {
        /// Empty if nobody can read there any more.
        sink: Option<Fd>,
        /// Bytes that come first.
        left: Bytes,
    },
    /// A file.
    File(Fd),
    /// The log: its stdout.
    LogStdout,
    /// The log: its stderr.
    LogStderr,
}

impl Output {
    /// Takes bytes when the sink is ready.
    pub fn relay(sink: AsyncFd<OwnedFd>) -> Self {
        Self::Relay(Some(Arc::new(sink)), Vec::new())
    }

    /// The destination, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<OutputState> {
        match self {
            Self::Null => Ok(OutputState::Null),
            Self::Relay(sink, left) => Ok(OutputState::Relay {
                sink: sink.as_ref().map(|sink| packing.fd(&**sink)).transpose()?,
                left: Bytes(left.clone()),
            }),
            Self::Recorder(recorder) => recorder.place().pack(packing),
        }
    }

    /// A destination that another program of ours has opened.
    pub fn unpack(state: OutputState, unpacking: &mut Unpacking, attach: Option<&Arc<Attach>>) -> io::Result<Self> {
        let log = |source| {
            let attach =
                attach.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a log without its socket"))?;
            // It has been counted.
            Ok(Self::Recorder(Recorder::new(RecordPlace::Attach(
                attach.clone(),
                source,
            ))))
        };
        match state {
            OutputState::Null => Ok(Self::Null),
            OutputState::Relay { sink, left } => {
                let sink = sink.map(|sink| watch(unpacking.fd(sink)?).map(Arc::new)).transpose()?;
                Ok(Self::Relay(sink, left.0))
            }
            OutputState::File(file) => {
                let file = Arc::new(File::from(unpacking.fd(file)?));
                Ok(Self::Recorder(Recorder::new(RecordPlace::File(file))))
            }
            OutputState::LogStdout => log(Source::Stdout),
            OutputState::LogStderr => log(Source::Stderr),
        }
    }

    /// Opens the destination that `uri` names.
    pub fn open(uri: &Stdio, attach: Option<&Arc<Attach>>, source: Source) -> Result<Self, StdioError> {
        match uri {
            // A logging program is started for both streams together, by who prepares them.
            Stdio::Null | Stdio::Attached | Stdio::Binary { .. } => Ok(Self::Null),
            Stdio::Fifo(path) => Ok(Self::relay(open_fifo(path)?)),
            Stdio::File(path) => open_file(path),
            Stdio::Log(_) => {
                let attach = attach.expect("a request with a log target opens its attach socket");
                attach.add_output();
                Ok(Self::Recorder(Recorder::new(RecordPlace::Attach(
                    attach.clone(),
                    source,
                ))))
            }
        }
    }
}

/// Opens a file, makes it with its folder where it is missing, or opens a FIFO or a device that is there under its name.
fn open_file(path: &Path) -> Result<Output, StdioError> {
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return open_fifo(path).map(Output::relay);
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
    Ok(Output::Recorder(Recorder::new(RecordPlace::File(Arc::new(file)))))
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
        let Output::Relay(Some(sink), _) = opened(&path) else {
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
