//! Moves bytes from one descriptor to another.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use davit_luggage::{Bytes, Packing};
use tokio::{io::unix::AsyncFd, task, time};

use super::{
    fd::{read, write_now},
    output::OutputState,
};
use crate::unsent::Unsent;

/// A source, a sink, and what is between them. It can be looked at between two steps.
#[derive(Debug)]
pub struct Relay {
    source: Arc<AsyncFd<OwnedFd>>,
    /// Empty once nobody can read there any more.
    sink: Mutex<Option<Arc<AsyncFd<OwnedFd>>>>,
    /// What was read and could not be written yet.
    left: Mutex<Unsent>,
}

impl Relay {
    /// Nothing has moved yet but what is `left` to be written.
    pub fn new(source: Arc<AsyncFd<OwnedFd>>, sink: Option<Arc<AsyncFd<OwnedFd>>>, left: Vec<u8>) -> Self {
        Self {
            source,
            sink: Mutex::new(sink),
            left: Mutex::new(Unsent::new(left)),
        }
    }

    /// Sink and rest, for another program.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<OutputState> {
        Ok(OutputState::Relay {
            sink: self.sink().map(|sink| packing.fd(&*sink)).transpose()?,
            left: self.rest(),
        })
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &AsyncFd<OwnedFd> {
        &self.source
    }

    /// What was read and could not be written yet.
    pub fn rest(&self) -> Bytes {
        Bytes(self.left().left().to_vec())
    }

    /// Moves bytes until the source ends or the sink is closed.
    ///
    /// Nothing is read that could not be written before, beyond one piece: a slow reader slows the writer, as a pipe would.
    pub async fn run(&self) -> io::Result<()> {
        let Some(sink) = self.sink() else { return Ok(()) };
        loop {
            self.write_rest(&sink).await?;
            let ended = read(&self.source, |bytes| self.pass_on(&sink, bytes)).await??;
            if ended {
                return Ok(());
            }
            // A source that is never empty would keep the only thread for itself.
            task::yield_now().await;
        }
    }

    /// The same with output, whose sink is closed then. What nobody can read any more is read and dropped, so that the process goes on.
    pub async fn run_output(self: Arc<Self>) {
        if let Err(error) = self.run().await {
            tracing::debug!(%error, "output has no reader any more");
            *self.sink.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        match self.sink() {
            Some(sink) => emptied(&sink).await,
            None => discard_all(self.source.clone()).await,
        }
    }

    /// Writes what can be written at once and keeps the rest; `true` at the end.
    fn pass_on(&self, sink: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<bool> {
        if bytes.is_empty() {
            return Ok(true);
        }
        let written = write_now(sink.get_ref(), bytes)?;
        if written < bytes.len() {
            *self.left() = Unsent::new(bytes[written..].into());
        }
        Ok(false)
    }

    async fn write_rest(&self, sink: &AsyncFd<OwnedFd>) -> io::Result<()> {
        while !self.left().is_empty() {
            let mut ready = sink.writable().await?;
            let written = ready.try_io(|fd| {
                let mut left = self.left();
                let length = rustix::io::write(fd.get_ref(), left.left())?;
                left.advance(length);
                Ok(())
            });
            match written {
                Ok(Err(error)) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn sink(&self) -> Option<Arc<AsyncFd<OwnedFd>>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn left(&self) -> MutexGuard<'_, Unsent> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the sink's reader has taken everything.
///
/// A client may open its FIFO late, and what a FIFO holds is gone when nobody has it open. There is no event for "empty".
async fn emptied(sink: &AsyncFd<OwnedFd>) {
    let mut pause = Duration::from_millis(1);
    while let Ok(1..) = rustix::io::ioctl_fionread(sink.get_ref()) {
        time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Reads to the end.
pub async fn discard_all(source: Arc<AsyncFd<OwnedFd>>) {
    while let Ok(1..) = read(&source, <[u8]>::len).await {
        task::yield_now().await;
    }
}

#[cfg(test)]
pub mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::stdio::fd::nonblocking;

    pub fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    fn relay(source: OwnedFd, sink: OwnedFd) -> Arc<Relay> {
        let watched = |fd| Arc::new(nonblocking(fd).unwrap());
        Arc::new(Relay::new(watched(source), Some(watched(sink)), Vec::new()))
    }

    #[tokio::test]
    async fn a_slow_reader_gets_every_byte() {
        let ((from_read, from_write), (to_read, to_write)) = (pipe(), pipe());
        let total: usize = 5 << 20;
        let writer = std::thread::spawn(move || {
            let bytes: Vec<u8> = (0..total).map(|number| (number % 251) as u8).collect();
            std::io::Write::write_all(&mut std::fs::File::from(from_write), &bytes).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::io::Read::read_to_end(&mut std::fs::File::from(to_read), &mut bytes).unwrap();
            bytes
        });
        relay(from_read, to_write).run_output().await;
        writer.join().unwrap();
        let bytes = reader.join().unwrap();
        assert_eq!(bytes.len(), total);
        assert!(
            bytes
                .iter()
                .enumerate()
                .all(|(number, byte)| *byte == (number % 251) as u8)
        );
    }

    #[tokio::test]
    async fn a_source_that_is_never_empty_leaves_others_their_turn() {
        let (from, to) = pipe();
        rustix::io::write(&to, b"round and round").unwrap();
        let relay = relay(from, to);
        let relaying = tokio::spawn(async move { relay.run().await });
        for _ in 0..10 {
            task::yield_now().await;
        }
        relaying.abort();
        assert!(relaying.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn a_reader_that_comes_late_still_gets_everything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let both = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (from_read, from_write) = pipe();
        std::io::Write::write_all(&mut std::fs::File::from(from_write), b"early").unwrap();
        let relaying = tokio::spawn(relay(from_read, both.into()).run_output());
        time::sleep(Duration::from_millis(100)).await;
        let reader = std::thread::spawn(move || std::fs::read(path).unwrap());
        relaying.await.unwrap();
        assert_eq!(reader.join().unwrap(), b"early");
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_does_not_stop_the_writer() {
        let ((from_read, from_write), (to_read, to_write)) = (pipe(), pipe());
        drop(to_read);
        let writer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut std::fs::File::from(from_write), &[0; 1 << 20]).unwrap();
        });
        relay(from_read, to_write).run_output().await;
        writer.join().unwrap();
    }
}
