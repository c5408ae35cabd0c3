//! The other program's socket that a terminal's master is sent to.

use std::{os::fd::OwnedFd, path::Path};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with};

use crate::errno::{Attempt, CallError};

/// Connects to a listening stream socket.
pub fn connect(path: &Path) -> Result<OwnedFd, CallError> {
    let attempt = || {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        connect_to(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let connected: Result<OwnedFd, rustix::io::Errno> = attempt();
    connected.attempt("connect to", path.display())
}
