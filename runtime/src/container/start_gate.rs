//! What a created container waits at: a listening socket in its folder.
//!
//! `start` connects, says go, hears that it was understood, and hears the end of the connection when the program is
//! executed, or why it was not. Only one is understood, however many say go at once. Whether a container has been started is asked of the kernel, not of a file: as long as the gate listens, it has not.
//! A `start` that dies before its word leaves the container created; one that dies after it leaves it started.

use std::{
    collections::VecDeque,
    fs, iter,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, Mode, OFlags, openat},
    io::{Errno as Kernel, retry_on_intr},
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with, bind, connect, listen, socket_with,
    },
};

use super::store::Folder;
use crate::talk::{Channel, FromChild};

const NAME: &str = "start.sock";
/// Lookers that the container has not seen yet, since it is stopped or has no time: enough for all that there will be.
const BACKLOG: i32 = 1024;
/// Those who may be connected without saying anything; of more, the eldest is given up.
const CALLERS: usize = 64;

/// The container's side.
#[derive(Debug)]
pub struct StartGate(OwnedFd);

impl StartGate {
    /// Begins to listen.
    pub fn new(folder: &Folder) -> Result<Self, Kernel> {
        let socket = socket(SocketFlags::CLOEXEC)?;
        with_address(folder, |address| bind(&socket, address))?;
        listen(&socket, BACKLOG)?;
        Ok(StartGate(socket))
    }

    /// Waits for the word; from then on the container counts as started. Returns the connection to answer on.
    pub fn wait(self) -> Result<Channel, Kernel> {
        // Whoever connects and is then stopped, or only looks whether the gate is there, holds up nobody else.
        let mut callers = VecDeque::new();
        loop {
            let (mut speakers, another) = self.watch(&callers)?;
            while let Some(caller) = speakers.pop().and_then(|index| callers.remove(index)) {
                // Who cannot be answered has gone away.
                if let Ok(Some(_)) = caller.obey()
                    && caller.tell(FromChild::Ready).is_ok()
                {
                    return Ok(caller);
                }
            }
            if another && let Some(caller) = self.accept()? {
                callers.push_back(caller);
                if callers.len() > CALLERS {
                    callers.pop_front();
                }
            }
        }
    }

    /// Waits until one of the callers speaks or goes away, or another comes: the places of those in their order, and
    /// whether another is there.
    fn watch(&self, callers: &VecDeque<Channel>) -> Result<(Vec<usize>, bool), Kernel> {
        let all = iter::once(self.0.as_fd()).chain(callers.iter().map(Channel::as_fd));
        let mut all: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        retry_on_intr(|| poll(&mut all, None))?;
        let speaks = |poll: &PollFd| !poll.revents().is_empty();
        let speakers = all[1..].iter().enumerate().filter(|(_, poll)| speaks(poll));
        Ok((speakers.map(|(index, _)| index).collect(), speaks(&all[0])))
    }

    fn accept(&self) -> Result<Option<Channel>, Kernel> {
        match acceptfrom_with(&self.0, SocketFlags::CLOEXEC) {
            Err(Kernel::INTR | Kernel::CONNABORTED) => Ok(None),
            accepted => Ok(Some(Channel::from(accepted?.0))),
        }
    }
}

/// Connects to the gate of a container that has not been started yet; `None` where it has been. The connection never
/// blocks.
pub fn approach(folder: &Folder) -> Result<Option<Channel>, Kernel> {
    match connection(folder) {
        Ok(socket) => Ok(Some(Channel::from(socket))),
        Err(Kernel::NOENT | Kernel::CONNREFUSED) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether the gate is there: whether the container has yet to be started.
pub fn is_there(folder: &Folder) -> bool {
    // A queue that is full is the queue of a gate.
    matches!(connection(folder), Ok(_) | Err(Kernel::AGAIN))
}

/// Removes what is left of the gate of a container that was started.
pub fn clear(folder: &Folder) {
    let _ = fs::remove_file(folder.path().join(NAME));
}

/// Nobody waits for room in the queue of a container, which may be stopped.
fn connection(folder: &Folder) -> Result<OwnedFd, Kernel> {
    let socket = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    with_address(folder, |address| connect(&socket, address))?;
    Ok(socket)
}

fn socket(flags: SocketFlags) -> Result<OwnedFd, Kernel> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A socket's path has at most 107 bytes, a folder's may have more: so it is addressed through a descriptor.
fn with_address<T>(folder: &Folder, act: impl FnOnce(&SocketAddrUnix) -> Result<T, Kernel>) -> Result<T, Kernel> {
    let directory = openat(
        CWD,
        folder.path(),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    act(&SocketAddrUnix::new(format!(
        "/proc/self/fd/{}/{NAME}",
        directory.as_raw_fd()
    ))?)
}
