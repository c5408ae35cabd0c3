//! The question to the new program whether it understands the state, before there is no way back.

use std::{
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Resource, Signal, getrlimit, kill_process},
};
use tokio::time::{self, Instant};

use super::{
    HandoverError,
    state::{State, Unreadable},
};
use crate::{oci::read_rest, reaper::Reaper};

/// The flag that asks.
pub const FLAG: &str = "-check-handover";

/// What is said of a state that is understood. Any other program may end well with any arguments.
const UNDERSTOOD: &str = "davit-shim-handover";

/// Descriptors that a program opens for itself, logs that it opens anew among them.
const OWN: u64 = 40;

/// A state on stdin that this program does not understand.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read.
    #[error("cannot read stdin: {0}")]
    Io(#[from] io::Error),
    /// It is not understood.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Once it has gone over, there may be no descriptor left for the way back.
    #[error("it needs {needed} descriptors, and the limit is {limit}")]
    Descriptors {
        /// How many it needs until all are its own.
        needed: u64,
        /// How many it may have.
        limit: u64,
    },
}

/// The answer: reads a state from stdin.
pub fn answer() -> Result<(), CheckError> {
    let mut json = Vec::new();
    io::stdin().read_to_end(&mut json)?;
    has_room(&State::parse(&json)?)?;
    Ok(writeln!(io::stdout(), "{UNDERSTOOD}")?)
}

/// Each descriptor is there twice while this program takes over.
fn has_room(state: &State) -> Result<(), CheckError> {
    let needed = 2 * state.descriptors as u64 + OWN;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => Err(CheckError::Descriptors { needed, limit }),
        _ => Ok(()),
    }
}

/// Asks `program` about the state in a file, which is read from its beginning.
pub async fn ask(program: &Path, state: OwnedFd, reaper: &Arc<Reaper>, until: Instant) -> Result<(), HandoverError> {
    let refused = |why: String| HandoverError::Refused {
        program: program.to_owned(),
        why,
    };
    let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| refused(error.to_string()));
    let ((stdout, its_stdout), (stderr, its_stderr)) = (pipe()?, pipe()?);
    let mut command = Command::new(program);
    command.arg(FLAG).stdin(Stdio::from(state));
    command.stdout(Stdio::from(its_stdout)).stderr(Stdio::from(its_stderr));
    let (child, mut exit) = reaper.spawn(&mut command).map_err(|error| refused(error.to_string()))?;
    drop(command);
    let Ok(exit) = time::timeout_at(until, &mut exit).await else {
        // Its exit has not been taken: the pid is its own.
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        return Err(refused("it does not answer".into()));
    };
    match exit.map_or(255, |exit| exit.status) {
        0 if read_rest(stdout) == UNDERSTOOD => Ok(()),
        0 => Err(refused("it is no shim that can take over".into())),
        status => Err(refused(format!("exit status {status}: {}", read_rest(stderr)))),
    }
}
