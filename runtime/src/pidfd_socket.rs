//! Handing a process over as a descriptor, to whoever listens at `--pidfd-socket`.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use crate::{
    console_socket,
    errno::{Attempt, CallError},
    talk,
};

/// Sends the handle, with the name that runc gives it.
pub fn send(path: &Path, pidfd: &OwnedFd) -> Result<(), CallError> {
    let socket = console_socket::connect(path)?;
    talk::send(socket.as_fd(), b"pidfd", Some(pidfd.as_fd())).attempt("send pidfd to", path.display())
}
