//! The other program's socket that a terminal's master is sent to, or a listener, or a process.

use std::{os::fd::OwnedFd, path::Path, time::Duration};

use rustix::net::SocketType;

use crate::{
    errno::{Attempt, CallError},
    unix_socket,
};

/// How long the other program may leave us waiting: meanwhile nobody else can remove the container.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to a listening stream socket; `@name` is one of the abstract names.
pub fn connect(path: &Path) -> Result<OwnedFd, CallError> {
    unix_socket::connect(SocketType::STREAM, path.as_os_str(), PATIENCE).attempt("connect to", path.display())
}
