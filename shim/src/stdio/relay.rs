//! Moves bytes from one descriptor to another.

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{io::unix::AsyncFd, task, time};

use super::fd::{read, write_all, write_now};

/// Moves bytes until the source ends or the sink is closed.
///
/// Nothing is read that could not be written before, beyond one piece: a slow reader slows the writer, as a pipe would.
pub async fn relay(source: &AsyncFd<OwnedFd>, sink: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let left = read(source, |bytes| step(sink, bytes)).await?;
        match left? {
            Step::Ended => return Ok(()),
            Step::Written => {}
            Step::Left(bytes) => write_all(sink, &bytes).await?,
        }
        // A source that is never empty would keep the only thread for itself.
        task::yield_now().await;
    }
}

enum Step {
    Ended,
    Written,
    Left(Vec<u8>),
}

fn step(sink: &AsyncFd<OwnedFd>, bytes: &[u8]) -> io::Result<Step> {
    if bytes.is_empty() {
        return Ok(Step::Ended);
    }
    let written = write_now(sink.get_ref(), bytes)?;
    let left = &bytes[written..];
    Ok(if left.is_empty() {
        Step::Written
    } else {
        Step::Left(left.into())
    })
}

/// Relays output, then closes the sink. What nobody can read any more is read and dropped, so that the process goes on.
pub async fn relay_all(source: Arc<AsyncFd<OwnedFd>>, sink: AsyncFd<OwnedFd>) {
    match relay(&source, &sink).await {
        Ok(()) => emptied(&sink).await,
        Err(error) => {
            tracing::debug!(%error, "output has no reader any more");
            drop(sink);
            discard_all(source).await;
        }
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
        relay_all(
            Arc::new(nonblocking(from_read).unwrap()),
            nonblocking(to_write).unwrap(),
        )
        .await;
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
        let (source, sink) = (nonblocking(from).unwrap(), nonblocking(to).unwrap());
        let relaying = tokio::spawn(async move { relay(&source, &sink).await });
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
        let sink = nonblocking(both.into()).unwrap();
        let relaying = tokio::spawn(relay_all(Arc::new(nonblocking(from_read).unwrap()), sink));
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
        relay_all(
            Arc::new(nonblocking(from_read).unwrap()),
            nonblocking(to_write).unwrap(),
        )
        .await;
        writer.join().unwrap();
    }
}
