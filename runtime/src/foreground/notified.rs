//! A service in the foreground that tells its manager of its state.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::{
    signal::SigSet,
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno as Kernel,
    process::getpid,
};

use super::after_signal;
use crate::{
    errno::{Attempt, CallError},
    notify_socket::NotifySocket,
};

/// Passes signals in and notifications out until the process has ended.
pub(super) fn wait(pid: i32, pidfd: &OwnedFd, notifications: &NotifySocket) -> Result<i32, CallError> {
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .attempt("open", "signalfd")?;
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(notifications.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Kernel::INTR) => {}
            Err(errno) => return Err(errno).attempt("poll", "signals and notifications"),
        }
        // First: the last word of a service that has ended is still passed on.
        if !fds[1].revents().is_empty() {
            pass_on(notifications);
            continue;
        }
        while let Ok(Some(info)) = signals.read_signal() {
            if let Some(code) = after_signal(info.ssi_signo as i32, pid, pidfd) {
                return Ok(code);
            }
        }
    }
}

/// The runtime stays and is what its manager watches.
pub(super) fn pass_on(notifications: &NotifySocket) {
    notifications.forward(getpid().as_raw_pid());
}
