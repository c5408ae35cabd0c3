//! The other program's socket that a terminal's master is sent to.

use std::{
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with};

use crate::errno::{Attempt, CallError};

/// Connects to a listening stream socket; `@name` is one of the abstract names.
pub fn connect(path: &Path) -> Result<OwnedFd, CallError> {
    let attempt = || {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let address = match path.as_os_str().as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name)?,
            None => SocketAddrUnix::new(path)?,
        };
        connect_to(&socket, &address)?;
        Ok(socket)
    };
    let connected: Result<OwnedFd, rustix::io::Errno> = attempt();
    connected.attempt("connect to", path.display())
}
