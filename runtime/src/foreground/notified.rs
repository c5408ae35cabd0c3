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

/// How many messages of a service that has ended are still passed on, of those that its socket keeps.
const MOST_LAST_WORDS: usize = 16;

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
        // One at a time: a service that says much must not keep signals from being heard.
        pass_on(notifications);
        while let Ok(Some(info)) = signals.read_signal() {
            if let Some(code) = after_signal(info.ssi_signo as i32, pid, pidfd) {
                // The last words of a service that has ended are still passed on.
                (0..MOST_LAST_WORDS).for_each(|_| pass_on(notifications));
                return Ok(code);
            }
        }
    }
}

/// The runtime stays and is what its manager watches.
pub(super) fn pass_on(notifications: &NotifySocket) {
    notifications.forward(getpid().as_raw_pid());
}
