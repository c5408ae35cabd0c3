//! Moves output into something that takes it at once: a file, or the log with its attach socket.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use davit_logs::Source;
use davit_luggage::Packing;
use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
    task,
};

use super::{
    attach::Attach,
    fd::{MOST, read, read_now},
    output::OutputState,
};

/// Takes output at once.
#[derive(Debug)]
pub struct Recorder {
    place: RecordPlace,
    /// An error was reported.
    has_failed: bool,
}

/// Where recorded output goes.
#[derive(Debug, Clone)]
pub enum RecordPlace {
    /// Appended to a file.
    File(Arc<File>),
    /// To the log and the attached clients.
    Attach(Arc<Attach>, Source),
}

impl RecordPlace {
    /// The place, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<OutputState> {
        match self {
            Self::File(file) => packing.fd(file).map(OutputState::File),
            Self::Attach(_, Source::Stdout) => Ok(OutputState::LogStdout),
            Self::Attach(_, Source::Stderr) => Ok(OutputState::LogStderr),
        }
    }
}

impl Recorder {
    /// Records there.
    pub fn new(place: RecordPlace) -> Self {
        Self {
            place,
            has_failed: false,
        }
    }

    /// Where it records.
    pub fn place(&self) -> &RecordPlace {
        &self.place
    }

    fn take(&mut self, bytes: &[u8]) {
        match &self.place {
            RecordPlace::Attach(attach, source) => attach.output(*source, bytes),
            RecordPlace::File(file) => match (&mut &**file).write_all(bytes) {
                Ok(()) => self.has_failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut self.has_failed, true) {
                        tracing::warn!(%error, "output is lost");
                    }
                }
            },
        }
    }

    /// Returns when more may be taken.
    async fn room(&self) {
        if let RecordPlace::Attach(attach, _) = &self.place {
            attach.room().await;
        }
    }
}

/// Output ends with who records it, even where he is made to end.
impl Drop for Recorder {
    fn drop(&mut self) {
        if let RecordPlace::Attach(attach, source) = &self.place {
            attach.output_ended(*source);
        }
    }
}

/// Records to the end of the source.
///
/// When the process has ended, what is in the pipe is taken without regard to slow clients, and `drained` tells so. The pipe may
/// live on in the hands of another process; then recording goes on.
pub async fn record(
    source: Arc<AsyncFd<OwnedFd>>,
    mut recorder: Recorder,
    mut exited: watch::Receiver<bool>,
    drained: oneshot::Sender<()>,
) {
    let ended = tokio::select! {
        () = follow(&source, &mut recorder) => true,
        _ = exited.wait_for(|exited| *exited) => false,
    };
    let ended = ended || drain(source.get_ref(), &mut recorder);
    // Nobody may be waiting.
    let _ = drained.send(());
    if !ended {
        follow(&source, &mut recorder).await;
    }
}

async fn follow(source: &AsyncFd<OwnedFd>, recorder: &mut Recorder) {
    loop {
        recorder.room().await;
        let taken = read(source, |bytes| {
            recorder.take(bytes);
            bytes.len()
        });
        match taken.await {
            // A pipe that is filled as fast as it is read would keep the only thread for itself.
            Ok(1..) => task::yield_now().await,
            Ok(0) => return,
            Err(error) => return tracing::warn!(%error, "cannot read output"),
        }
    }
}

/// Reads what the pipe holds now; `true` at its end. Others that still write cannot keep this going for ever.
fn drain(source: &OwnedFd, recorder: &mut Recorder) -> bool {
    let mut left = capacity(source);
    while left > 0 {
        let taken = read_now(source.as_fd(), |bytes| {
            recorder.take(bytes);
            bytes.len()
        });
        match taken {
            Ok(0) => return true,
            Ok(length) => left = left.saturating_sub(length),
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
    false
}

fn capacity(source: &OwnedFd) -> usize {
    // A terminal is no pipe; it buffers less.
    rustix::pipe::fcntl_getpipe_size(source).unwrap_or(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdio::{fd::nonblocking, relay::tests::pipe};

    #[tokio::test]
    async fn a_pipe_that_is_never_empty_leaves_others_their_turn() {
        let (from, to) = pipe();
        let mut to = File::from(to);
        to.write_all(b"round and round").unwrap();
        let source = Arc::new(nonblocking(from).unwrap());
        let (_exit, exited) = watch::channel(false);
        let recording = tokio::spawn(record(
            source,
            Recorder::new(RecordPlace::File(Arc::new(to))),
            exited,
            oneshot::channel().0,
        ));
        for _ in 0..10 {
            task::yield_now().await;
        }
        recording.abort();
        assert!(recording.await.unwrap_err().is_cancelled());
    }
}
