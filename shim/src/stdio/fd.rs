//! Reading and writing of descriptors that tell when they are ready.

use std::{
    cell::RefCell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::unix::AsyncFd;

/// The most that one read takes, in bytes: what a pipe holds by default.
pub const MOST: usize = 64 << 10;

thread_local! {
    /// One buffer for all streams: a read and what happens to its bytes is one step on the only thread.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Makes a descriptor non-blocking and watches it.
pub fn nonblocking(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    watch(fd)
}

/// Watches a descriptor that does not block.
#[expect(
    deprecated,
    reason = "the replacement is unsafe for any type's sake; an OwnedFd keeps its promise by itself"
)]
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Reads once without waiting and passes the bytes on; none means the end. A terminal whose other side is closed has ended.
pub fn read_now<T>(source: impl AsFd, take: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(MOST, 0);
        loop {
            match rustix::io::read(&source, &mut buffer[..]) {
                Ok(length) => return Ok(take(&buffer[..length])),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::IO) => return Ok(take(&[])),
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Waits until something can be read, and passes it on.
pub async fn read<T>(source: &AsyncFd<OwnedFd>, mut take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
    loop {
        let mut ready = source.readable().await?;
        if let Ok(done) = ready.try_io(|fd| read_now(fd.get_ref(), &mut take)) {
            return done;
        }
    }
}

/// Writes what can be written without waiting; 0 if nothing.
pub fn write_now(sink: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    match rustix::io::write(sink, bytes) {
        Ok(length) => Ok(length),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}
