//! The way from one program to the next.

use std::{
    convert::Infallible,
    env,
    error::Error,
    ffi::{CString, OsString},
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use davit_luggage::Packing;
use nix::{
    sys::signal::{SigSet, Signal},
    unistd::execve,
};
use rustix::fs::MemfdFlags;
use tokio::{
    task,
    time::{self, Instant},
};

use super::{arrival::Arrival, check, state::State};
use crate::{service::Asked, shim::Shim};

/// How long the new program may take to say whether it understands, and then the shim to become quiet.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long a record on its way to a peer is waited for. Longer, and it is sent again by the new program.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// How often is looked whether the manager has taken an event.
const PAUSE: Duration = Duration::from_millis(1);

/// Why the shim goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Something cannot be broken off.
    #[error("the shim is busy with {0}")]
    Busy(&'static str),
    /// It has been asked to end.
    #[error("the shim ends")]
    Ending,
    /// Who has asked has gone.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// The new program cannot go on.
    #[error("{} cannot take over: {why}", program.display())]
    Refused {
        /// The new program.
        program: PathBuf,
        /// Its own words, or what else is known.
        why: String,
    },
    /// A system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
}

impl HandoverError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Becomes the program that is asked for. Returns only if that fails; then the shim goes on as it was.
pub async fn run(shim: &Shim, asked: &Asked) -> HandoverError {
    let Err(error) = attempt(shim, asked).await;
    shim.server.release();
    error
}

async fn attempt(shim: &Shim, asked: &Asked) -> Result<Infallible, HandoverError> {
    let program = &asked.program;
    // What is under way changes what the state says, and not how: nobody has to wait for this.
    let (json, _) = pack(shim, program)?;
    check::ask(program, in_memory(&json)?, &shim.host.reaper, Instant::now() + PATIENCE).await?;
    let begin = Instant::now();
    let until = begin + PATIENCE;
    let held = time::timeout_at(until, shim.server.hold()).await;
    held.map_err(|_| HandoverError::Busy("calls that have begun"))?;
    quiet(shim, begin + LOG_PATIENCE, until).await?;
    // From here on nothing else happens on this thread.
    if shim.tasks.is_ending() {
        return Err(HandoverError::Ending);
    }
    if !asked.is_wanted() {
        return Err(HandoverError::Unwanted);
    }
    let (json, packing) = pack(shim, program)?;
    go_over(shim, program, &json, packing)
}

/// Returns when nothing is under way that cannot be broken off. It looks at each turn of this thread: where a log is written to without
/// a pause there is no other moment than the one between two writes.
async fn quiet(shim: &Shim, patient_until: Instant, until: Instant) -> Result<(), HandoverError> {
    while let Some(what) = busy(shim, Instant::now() < patient_until) {
        if Instant::now() >= until {
            return Err(HandoverError::Busy(what));
        }
        match shim.host.outbox.is_busy() {
            // A manager that hangs takes its time.
            true => time::sleep(PAUSE).await,
            false => task::yield_now().await,
        }
    }
    Ok(())
}

fn busy(shim: &Shim, patient: bool) -> Option<&'static str> {
    if !shim.server.is_quiet() {
        Some("calls that have begun")
    } else if shim.host.outbox.is_busy() {
        Some("an event on its way to the manager")
    } else {
        shim.tasks.is_busy(patient)
    }
}

fn pack(shim: &Shim, program: &Path) -> Result<(Vec<u8>, Packing), HandoverError> {
    let mut packing = Packing::default();
    let state = shim.pack(program, &mut packing);
    let state = state.map_err(HandoverError::io("cannot pack the shim's state"))?;
    let json = serde_json::to_vec(&state).map_err(|error| HandoverError::io("cannot write the state")(error.into()))?;
    Ok((json, packing))
}

fn go_over(shim: &Shim, program: &Path, json: &[u8], packing: Packing) -> Result<Infallible, HandoverError> {
    let what = || HandoverError::io(format!("cannot go over to {}", program.display()));
    execute(program, shim.arguments(), json, packing).map_err(what())
}

/// Becomes again the program before, with all that it has left. Returns only if that fails, too.
pub fn go_back(arguments: Vec<OsString>, arrival: Arrival, failure: &dyn Error) -> io::Result<Infallible> {
    let Arrival { json, mut unpacking } = arrival;
    let mut state = State::parse(&json).map_err(io::Error::other)?;
    let previous = state.previous.take().ok_or(io::ErrorKind::NotFound)?;
    let previous = unpacking.fd(previous)?;
    state.failure = Some(failure.to_string());
    let json = serde_json::to_vec(&state)?;
    let program = format!("/proc/self/fd/{}", previous.as_raw_fd());
    execute(Path::new(&program), arguments, &json, unpacking.into_packing())
}

/// Executes a program that finds a state and descriptors on its stdin.
fn execute(program: &Path, arguments: Vec<OsString>, json: &[u8], mut packing: Packing) -> io::Result<Infallible> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::other);
    let path = text(program.as_os_str().as_bytes())?;
    let mut words = vec![path.clone()];
    for argument in arguments {
        words.push(text(argument.as_bytes())?);
    }
    let mut environment = Vec::new();
    for (name, value) in env::vars_os() {
        environment.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    // The state is the last of the descriptors.
    packing.fd(in_memory(json).map_err(io::Error::other)?)?;
    let (here, there) = UnixStream::pair()?;
    packing.send(&here)?;
    // Their other copies are closed by the execution, and must not be open meanwhile: there may be many.
    drop(packing);
    // Opened now: what puts this program back as it was must not fail for want of a descriptor.
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&there)?;
    let signals = ending_signals();
    signals.thread_block()?;
    let error = match execve(&path, &words, &environment) {
        Err(error) => error.into(),
        Ok(never) => match never {},
    };
    signals.thread_unblock()?;
    rustix::stdio::dup2_stdin(&null)?;
    Err(error)
}

/// A file in memory with this content, at its beginning.
fn in_memory(content: &[u8]) -> Result<OwnedFd, HandoverError> {
    let write = || {
        let mut file = File::from(rustix::fs::memfd_create("handover", MemfdFlags::CLOEXEC)?);
        file.write_all(content)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file.into())
    };
    write().map_err(HandoverError::io("cannot write the state"))
}

/// Signals that would end a program that does not listen for them yet.
fn ending_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// The program listens for signals now.
pub fn unblock_signals() {
    // It fails for no set of signals.
    let _ = ending_signals().thread_unblock();
}
