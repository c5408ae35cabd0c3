//! The program that answers for a container's system calls (SCMP_ACT_NOTIFY), and how it gets the listener to do so.
//!
//! The filtered process is already bound by its filter when it holds the listener, and the agent is not there yet: any
//! call that the profile asks about would wait for ever. So it makes exactly one, a write of the listener's number, and
//! the runtime fetches the descriptor itself. Where the runtime may not (without privileges, since the process is not
//! dumpable), the descriptor is sent instead, and the profile must leave sendmsg alone.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use davit_seccomp::{Program as Filter, SeccompError};
use davit_spec::Linux;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::{
    console_socket,
    errno::{Attempt, CallError},
    talk::{self, Listener},
};

/// Where an agent listens, and what it is to be told beside the state.
#[derive(Clone, Debug)]
pub struct Agent {
    path: PathBuf,
    /// The profile's `listenerMetadata`.
    pub metadata: String,
}

/// Why an agent did not get its listener.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens.
    #[error("failed to connect with seccomp agent specified in the seccomp profile: {0}")]
    Connect(CallError),
    /// The listener did not come from the process, or did not go to the agent.
    #[error("cannot send seccomp fd: {0}")]
    Send(#[from] CallError),
}

impl Agent {
    /// The agent of a profile whose filter asks one; a path beside a filter that asks nobody is passed over.
    pub fn of(linux: &Linux, filter: Option<&Filter>) -> Result<Option<Self>, SeccompError> {
        if !filter.is_some_and(Filter::notifies) {
            return Ok(None);
        }
        let profile = linux.seccomp.as_ref().expect("a filter comes from a profile");
        let path = profile.listener_path().clone().unwrap_or_default();
        match path.as_os_str().is_empty() {
            true => Err(SeccompError::NoListener),
            false => Ok(Some(Agent {
                path,
                metadata: profile.listener_metadata().clone().unwrap_or_default(),
            })),
        }
    }

    /// Sends the listener and the state of the process, one message on a connection of its own.
    pub fn hand_over(&self, listener: &OwnedFd, state: &str) -> Result<(), AgentError> {
        let socket = console_socket::connect(&self.path).map_err(AgentError::Connect)?;
        let sent = talk::send_all(socket.as_fd(), state.as_bytes(), listener.as_fd());
        Ok(sent.attempt("send to", self.path.display())?)
    }
}

/// The listener that a process behind `pidfd` offers.
pub fn receive(listener: Listener, pidfd: &OwnedFd) -> Result<OwnedFd, AgentError> {
    match listener {
        Listener::Sent(fd) => Ok(fd),
        Listener::Number(number) => {
            Ok(pidfd_getfd(pidfd.as_fd(), number, PidfdGetfdFlags::empty()).attempt("fetch descriptor", number)?)
        }
    }
}
