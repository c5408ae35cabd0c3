//! Staying with a process until it ends: signals go to it, its terminal is served, its exit code is ours.

mod notified;
mod outlet;
mod pipes;
mod terminal;
mod watch;

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::{
    signal::SigSet,
    signalfd::{SfdFlags, SignalFd},
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};

use crate::{
    errno::{Attempt, CallError},
    notify_socket::NotifySocket,
    program::pipes::RuntimeEnds,
};

/// Added to the number of the signal that ended a process.
const KILLED: i32 = 128;

/// What a process in the foreground has as its standard streams.
#[derive(Debug, Default)]
pub enum Streams {
    /// Its caller's own, or whatever they were when it was checkpointed.
    #[default]
    Callers,
    /// Pipes, with these other ends.
    Pipes(RuntimeEnds),
    /// A terminal, with this master.
    Terminal(OwnedFd),
}

/// Keeps signals for [`wait_for`]; to be called before the process is forked, so that none is lost.
pub fn hold_signals() -> Result<(), CallError> {
    davit_sys::signals::block_all().attempt("block", "signals")
}

/// Waits until the child `pid` has ended, and returns its exit code, as a shell would. Others may hold its pipes and be
/// waited for: `at_end` is called when it has ended and before that.
pub fn wait_for(
    pid: i32,
    pidfd: &OwnedFd,
    streams: Streams,
    notifications: Option<&NotifySocket>,
    at_end: impl Fn(),
) -> Result<i32, CallError> {
    match streams {
        Streams::Terminal(master) => terminal::serve(pid, pidfd, master, notifications),
        Streams::Pipes(ends) => pipes::serve(pid, pidfd, ends, notifications, at_end),
        Streams::Callers => loop {
            if let Some(code) = after_signal(davit_sys::signals::wait().attempt("wait for", "signal")?, pid, pidfd) {
                return Ok(code);
            }
        },
    }
}

fn all_signals() -> Result<SignalFd, CallError> {
    SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).attempt("open", "signalfd")
}

/// Acts on a signal; returns the exit code when it meant the end.
fn after_signal(signal: i32, pid: i32, pidfd: &OwnedFd) -> Option<i32> {
    if signal == Signal::CHILD.as_raw() {
        return reap(pid);
    }
    if is_our_own(signal) {
        return None;
    }
    // A signal for a process that has just ended is late, not wrong.
    let _ = davit_sys::signals::send(pidfd.as_fd(), signal);
    None
}

/// What the kernel says to the runtime and not to the program: that the caller's terminal has another size, that nobody reads
/// the caller's end of a pipe. runc passes on neither the first nor SIGURG.
fn is_our_own(signal: i32) -> bool {
    [Signal::WINCH, Signal::URG, Signal::PIPE]
        .iter()
        .any(|own| own.as_raw() == signal)
}

/// Takes the exit status of every child that has ended: as a subreaper we get the container's orphans, too.
fn reap(pid: i32) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((ended, status))) = wait(WaitOptions::NOHANG) {
        if Some(ended) == Pid::from_raw(pid) {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => KILLED + signal,
        (None, None) => KILLED,
    }
}
