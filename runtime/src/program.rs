//! From a prepared child to the container's program: what `create`, `run` and `exec` have in common.
//!
//! Two halves, with the wait for `start` between them. [`Prepared::new`] does all that can fail for a reason in
//! config.json, so that `create` reports it; [`Prepared::execute`] only puts the filter on and executes. Nothing that
//! comes between needs a system call that a profile is likely to refuse.

pub mod affinity;
pub mod apparmor;
pub mod capabilities;
pub mod identity;
pub mod landlock;
pub mod limits;
pub mod lookup;
pub mod pipes;
pub mod selinux;
pub mod terminal;

use std::{ffi::CString, io::Write, os::fd::IntoRawFd};

use davit_seccomp::Program as Filter;
use davit_spec::Process;
use rustix::{
    fs::Mode,
    process::{chdir, getcwd, umask},
    thread::set_no_new_privs,
};

use crate::{
    errno::{Attempt, CallError, Errno},
    program::{
        identity::IdentityError,
        landlock::{Confinement, Landlock, LandlockError},
        limits::LimitError,
        lookup::LookupError,
        pipes::ProgramEnds,
    },
    talk::{Channel, FromChild, Listener, ToChild},
};

/// The first file descriptor that is not a standard stream.
const FIRST_FREE_FD: u32 = 3;
/// Group and others may not write, unless the config says otherwise. A process of `exec` keeps its caller's mask.
pub const DEFAULT_UMASK: u32 = 0o022;
/// What a process exits with that could not be executed when it was too late to tell anybody else.
const NOT_EXECUTABLE: i32 = 255;

/// Why a program could not be executed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A limit or priority could not be set.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The user could not be changed to.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no such program.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The working directory.
    #[error("chdir to cwd ({0:?}) set in config.json failed: {1}")]
    WorkingDirectory(String, Errno),
    /// The working directory is not inside the container (CVE-2024-21626).
    #[error(
        "current working directory is outside of container mount namespace root -- possible container breakout detected"
    )]
    Outside,
    /// The restriction of the annotation.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// The filter.
    #[error("unable to init seccomp: {0}")]
    Seccomp(#[from] davit_seccomp::SeccompError),
    /// The runtime is gone.
    #[error("the runtime went away")]
    Abandoned,
}

/// What a program inherits beyond its config.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// The filter, compiled.
    pub seccomp: Option<Filter>,
    /// What its container's annotation restricts it to.
    pub landlock: Option<Landlock>,
    /// Whether the runtime has the privilege to fetch a descriptor of the process.
    pub runtime_may_fetch: bool,
    /// How many fds from 3 on stay open (`--preserve-fds`, and what LISTEN_FDS counts).
    pub extra_fds: u32,
    /// How many of them are listening sockets that the program learns of by LISTEN_FDS.
    pub listen_fds: u32,
    /// Its standard streams, where it has neither its caller's nor a terminal.
    pub streams: Option<ProgramEnds>,
    /// Keep the supplementary groups, and set none.
    pub keep_groups: bool,
}

/// A process that is what the program will be, but for the filter.
#[derive(Debug)]
pub struct Prepared {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    inheritance: Inheritance,
    landlock: Option<Confinement>,
}

impl Prepared {
    /// Makes the calling process the program's: limits, user, capabilities, directory. It must be in the container
    /// already, and its only thread.
    pub fn new(process: &Process, mut inheritance: Inheritance) -> Result<Self, ProgramError> {
        limits::apply(process)?;
        let mut env = environment(process, &inheritance);
        if let Some(streams) = inheritance.streams.take() {
            streams.take_their_places()?;
        }
        identity::own_standard_streams(&process.user)?;
        if let Some(mask) = process.user.umask {
            umask(Mode::from_raw_mode(mask));
        }
        // A directory that only the user may enter (a home on NFS) and one that only root may: either is enough.
        let entered = chdir(process.cwd.as_str());
        let landlock = inheritance
            .landlock
            .as_ref()
            .map(Landlock::prepare)
            .transpose()?
            .flatten();
        let confining_needs_privilege =
            (inheritance.seccomp.is_some() || landlock.is_some()) && !process.no_new_privileges;
        capabilities::limit_bounding_set(process.capabilities.as_ref())?;
        identity::change(&process.user, inheritance.keep_groups)?;
        capabilities::apply(process.capabilities.as_ref(), confining_needs_privilege)?;
        if let Err(errno) = entered.or_else(|_| chdir(process.cwd.as_str())) {
            return Err(ProgramError::WorkingDirectory(process.cwd.clone(), errno.into()));
        }
        refuse_outside()?;
        identity::add_home(&mut env, &process.user);
        let path = lookup::find(&process.args[0], &env)?;
        if process.no_new_privileges {
            set_no_new_privs(true).attempt("set", "no_new_privs")?;
        }
        davit_sys::signals::default_all();
        Ok(Prepared {
            path,
            args: process.args.iter().map(c_string).collect(),
            env: env.iter().map(c_string).collect(),
            inheritance,
            landlock,
        })
    }

    /// The program's environment.
    pub fn environment(&self) -> Vec<String> {
        let text = |variable: &CString| variable.to_string_lossy().into_owned();
        self.env.iter().map(text).collect()
    }

    /// Whether an agent must be told of the filter by whoever makes the process.
    pub fn has_agent(&self) -> bool {
        self.inheritance.seccomp.as_ref().is_some_and(Filter::notifies)
    }

    /// Puts the filter on, and leaves nothing open that the program is not to have. The agent's end of the filter goes to
    /// the runtime, at the other end of `channel`.
    pub fn confine(&self, channel: &Channel) -> Result<(), ProgramError> {
        davit_sys::fds::close_on_exec_from(FIRST_FREE_FD + self.inheritance.extra_fds)
            .attempt("close", "file descriptors")?;
        // Before the filter, which may well refuse it.
        if let Some(landlock) = &self.landlock {
            landlock.bind()?;
        }
        let Some(filter) = &self.inheritance.seccomp else {
            return Ok(());
        };
        let Some(listener) = filter.load()? else {
            return Ok(());
        };
        // From here on every call may have to wait for the agent, until it has the listener. So the descriptor is not even
        // closed: execve does that.
        let offer = match self.inheritance.runtime_may_fetch {
            true => Listener::Number(listener.into_raw_fd()),
            false => Listener::Sent(listener),
        };
        channel
            .tell(FromChild::Listener(offer))
            .attempt("offer", "seccomp listener")?;
        match channel.obey().attempt("hear", "runtime")? {
            Some(ToChild::Go) => Ok(()),
            None => Err(ProgramError::Abandoned),
        }
    }

    /// Executes the program. What the kernel does not take (a damaged file, an absent interpreter) is the program's own
    /// failure, as with runc: said on its standard error, with an exit code. The runtime counts it as executed.
    pub fn execute(self, channel: &Channel) -> ! {
        let Err(errno) = nix::unistd::execve(&self.path, &self.args, &self.env);
        let _ = channel.tell(FromChild::Unexecutable);
        let path = self.path.to_string_lossy();
        // Standard error is the program's, and may be closed.
        let _ = writeln!(std::io::stderr(), "exec {path}: {}", Errno::from(errno));
        davit_sys::clone::exit_now(NOT_EXECUTABLE)
    }
}

/// The kernel says "(unreachable)" of a directory that is not below the process's root.
fn refuse_outside() -> Result<(), ProgramError> {
    match getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().first() == Some(&b'/') => Ok(()),
        Ok(_) | Err(rustix::io::Errno::NOENT) => Err(ProgramError::Outside),
        Err(errno) => Err(errno)
            .attempt("get", "working directory")
            .map_err(ProgramError::Call),
    }
}

fn environment(process: &Process, inheritance: &Inheritance) -> Vec<String> {
    // Of several values of one name the last one counts, as with Go's setenv.
    let mut env: Vec<String> = Vec::with_capacity(process.env.len() + 3);
    let listening = match inheritance.listen_fds {
        0 => Vec::new(),
        count => vec![
            format!("LISTEN_FDS={count}"),
            format!("LISTEN_PID={}", std::process::id()),
        ],
    };
    for variable in process.env.iter().chain(&listening) {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        match env
            .iter_mut()
            .find(|earlier| earlier.split_once('=').is_some_and(|(earlier, _)| earlier == name))
        {
            Some(earlier) => earlier.clone_from(variable),
            None => env.push(variable.clone()),
        }
    }
    env
}

fn c_string(text: impl AsRef<str>) -> CString {
    CString::new(text.as_ref()).expect("validation has refused NUL bytes")
}
