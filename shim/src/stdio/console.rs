//! The socket on which the runtime hands over a terminal's master side.

use std::{
    fs,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixListener as StdListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use davit_luggage::{Fd, Packing, Unpacking};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixListener,
    time,
};

use super::{StdioError, failed, fd::nonblocking};
use crate::socket;

/// The runtime has already ended when we ask; the descriptor is on its way.
const PATIENCE: Duration = Duration::from_secs(10);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A console socket on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct ConsoleState {
    path: PathBuf,
    listener: Fd,
}

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub struct ConsoleSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Makes the socket in `dir` under a name that no other process uses.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let (path, listener) = bind(dir)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path,
        })
    }

    /// The socket, for another program of ours. Its file stays.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<ConsoleState> {
        Ok(ConsoleState {
            path: self.path.clone(),
            listener: packing.fd(&self.listener)?,
        })
    }

    /// A socket that another program of ours has made.
    pub fn unpack(state: ConsoleState, unpacking: &mut Unpacking) -> io::Result<Self> {
        let listener = StdListener::from(unpacking.fd(state.listener)?);
        Ok(Self {
            path: state.path,
            listener: UnixListener::from_std(listener)?,
        })
    }

    /// Where the runtime must connect.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The master side that the runtime sent.
    pub async fn receive(self) -> Result<AsyncFd<OwnedFd>, StdioError> {
        let received = time::timeout(PATIENCE, self.accept_and_read()).await;
        let master = received
            .map_err(|_| StdioError::NoConsole)?
            .map_err(failed("cannot receive the terminal"))?;
        nonblocking(master.ok_or(StdioError::NoConsole)?).map_err(failed("cannot watch the terminal"))
    }

    async fn accept_and_read(&self) -> io::Result<Option<OwnedFd>> {
        let (stream, _) = self.listener.accept().await?;
        // The payload is the terminal's name, which nobody needs.
        stream
            .async_io(Interest::READABLE, || receive_descriptor(&stream))
            .await
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // Best effort: a leftover is a small file in a folder of our own.
        let _ = fs::remove_file(&self.path);
    }
}

/// Under the first free name: an earlier program in this process may have used some.
fn bind(dir: &Path) -> io::Result<(PathBuf, StdListener)> {
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{}.{number}.pty", std::process::id()));
        match socket::listen(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|listener| (path, listener)),
        }
    }
}

fn receive_descriptor(stream: &tokio::net::UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(descriptors.flatten().next())
}
