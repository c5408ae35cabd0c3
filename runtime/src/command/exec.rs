//! `exec`: a further process in a container.

mod options;
mod sub_cgroup;
mod way_in;

use std::os::fd::OwnedFd;

use davit_cgroup::{Cgroup, CgroupError};
use davit_seccomp::SeccompError;
use davit_spec::{Config, Process, SpecError};
use davit_sys::clone::Fork;
use rustix::process::{geteuid, getpid, set_child_subreaper};

use self::way_in::WayIn;
use super::write_pid_file;
use crate::{
    cli::Exec,
    console_socket,
    container::{
        destroy,
        id::InvalidId,
        launch,
        process::has_executed,
        record::Record,
        status::Status,
        store::{Store, StoreError},
    },
    enter::{self, Visit},
    errno::{Attempt, CallError},
    fail_point,
    foreground::{self, Streams},
    inherited::{self, InheritedError},
    intel_rdt::IntelRdtError,
    log, pidfd_socket,
    program::{
        Inheritance, affinity, capabilities,
        landlock::{Landlock, LandlockError},
        limits,
        pipes::{self, RuntimeEnds},
        selinux::{self, SelinuxError},
        terminal::{Console, callers_size},
    },
    rootless::{self, RootlessError, is_rootless},
    seccomp_agent::{self, Agent, AgentError},
    state::{self, StateError},
    talk::{Channel, FromChild, Listener, ToChild},
    user_namespace::{
        passage::{self, PassageError},
        streams,
    },
};

/// Why nothing was executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// An id that is no name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The container cannot be found.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value on the command line or in process.json.
    #[error("{0}")]
    Usage(String),
    /// process.json, or what the options make of the container's own process, cannot be.
    #[error("{0}")]
    Process(#[from] SpecError),
    /// The container is in the wrong state for this.
    #[error("{0}")]
    State(&'static str),
    /// Its cgroup cannot be entered.
    #[error("unable to start container process: {0}")]
    Cgroup(#[from] CgroupError),
    /// The filter could not be compiled.
    #[error("unable to start container process: unable to init seccomp: {0}")]
    Seccomp(#[from] SeccompError),
    /// A descriptor to pass on is not open.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// A cgroup that is not the container's.
    #[error(transparent)]
    SubCgroup(#[from] sub_cgroup::SubCgroupError),
    /// A kernel call failed.
    #[error("unable to start container process: {0}")]
    Call(#[from] CallError),
    /// A terminal, and the caller has none.
    #[error(transparent)]
    NoTerminal(CallError),
    /// The container's user namespace cannot be entered.
    #[error("unable to start container process: {0}")]
    Passage(#[from] PassageError),
    /// What an ordinary user cannot have.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// A label that nobody would enforce.
    #[error("{0}")]
    Selinux(#[from] SelinuxError),
    /// The annotation that restricts the container's programs.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// It could not get the container's share of the caches.
    #[error("unable to start container process: {0}")]
    IntelRdt(#[from] IntelRdtError),
    /// The seccomp agent could not be told.
    #[error("unable to start container process: {0}")]
    Agent(#[from] AgentError),
    /// What its agent is to get cannot be told.
    #[error("unable to start container process: {0}")]
    Untold(#[from] StateError),
    /// The new process gave up, in its own words.
    #[error("unable to start container process: {0}")]
    Child(String),
    /// The new process is gone without a word.
    #[error("unable to start container process: it died without a word (killed, or out of memory?)")]
    Died,
}

pub(super) fn run(store: &Store, args: &Exec) -> Result<u8, ExecError> {
    let (folder, record) = store.find(&args.id.parse()?)?;
    let mut config = folder.config()?;
    let process = options::process(args, config.process.take().unwrap_or_default())?;
    // Not earlier: process.json may come as /dev/fd/N.
    inherited::close_others(args.preserve_fds);
    let init = match Status::of(&folder, &record) {
        Status::Stopped => None,
        Status::Creating => {
            return Err(ExecError::State(
                "cannot exec in a container that is still being created",
            ));
        }
        Status::Paused if !args.ignore_paused => {
            return Err(ExecError::State(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => record.init.open().attempt("open", "container init")?,
    };
    let init = init.ok_or(ExecError::State("cannot exec in a stopped container"))?;
    let mut visit = visit(store, args, &config, process, &record, init)?;
    let agent = Agent::of(&config.linux, visit.inheritance.seccomp.as_ref())?;
    if visit.has_user_namespace() {
        limits::raise_hard(&visit.process.rlimits);
    }
    let mut streams = Streams::Callers;
    if !args.detach && visit.console.is_none() {
        streams = Streams::Pipes(give_pipes(&mut visit)?);
    }
    if !args.detach {
        foreground::hold_signals()?;
        set_child_subreaper(Some(getpid())).attempt("become", "subreaper")?;
    }
    let process = fork_into(visit)?;
    fail_point::reach("exec.forked");
    let ended = process
        .converse(&record, agent.as_ref())
        .and_then(|terminal| process.attend(args, terminal.map_or(streams, Streams::Terminal)));
    if ended.is_err() {
        destroy::kill_child(&process.pidfd);
    }
    ended
}

/// Gives it pipes for its standard streams; returns the runtime's ends.
fn give_pipes(visit: &mut Visit) -> Result<RuntimeEnds, CallError> {
    let (program, own) = pipes::make()?;
    if visit.has_user_namespace() {
        streams::hand_over(&program, visit.init_pid, &visit.process.user);
    }
    visit.inheritance.streams = Some(program);
    Ok(own)
}

fn visit(
    store: &Store,
    args: &Exec,
    config: &Config,
    process: Process,
    record: &Record,
    init: OwnedFd,
) -> Result<Visit, ExecError> {
    process.validate()?;
    selinux::check(&process.selinux_label)?;
    rootless::check_process(&process)?;
    if let Some(sets) = &process.capabilities {
        capabilities::warn(sets);
    }
    let console = match (&args.console_socket, process.terminal) {
        (Some(path), true) => Some(Console::Socket(console_socket::connect(path)?)),
        (Some(_), false) => {
            return Err(ExecError::State(
                "cannot use console socket if runtime will not detach or allocate tty",
            ));
        }
        (None, true) if args.detach => {
            return Err(ExecError::State(
                "cannot allocate tty if runtime will detach without setting console socket",
            ));
        }
        (None, true) => Some(Console::Runtime(callers_size().map_err(ExecError::NoTerminal)?)),
        (None, false) => None,
    };
    let (extra_fds, listen_fds) = inherited::count(args.preserve_fds, |name| std::env::var(name).ok())?;
    let namespaces = enter::kinds(&config.linux);
    Ok(Visit {
        process,
        personality: config.linux.personality.clone(),
        memory_policy: config.linux.memory_policy.clone(),
        keyring: record.keyring.then(|| record.id.clone()),
        cgroup: Cgroup::again(
            &record.cgroup_manager,
            &sub_cgroup::paths(&record.cgroup_paths, &args.cgroup)?,
        )?,
        cgroup_is_named: !args.cgroup.is_empty(),
        init,
        init_pid: record.init.pid,
        root: enter::root_of(namespaces, record.init)?,
        namespaces,
        rootless: is_rootless(),
        console,
        inheritance: Inheritance {
            seccomp: launch::filter(config, store)?,
            landlock: Landlock::of(&config.annotations)?,
            runtime_may_fetch: geteuid().is_root(),
            extra_fds,
            listen_fds,
            streams: None,
            keep_groups: is_rootless(),
        },
    })
}

/// The new process, seen from the runtime.
struct Visitor {
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
}

fn fork_into(visit: Visit) -> Result<Visitor, ExecError> {
    let (channel, child_channel) = Channel::pair().attempt("make", "socket pair")?;
    let way = WayIn::of(&visit)?;
    let affinity = visit.process.exec_cpu_affinity.as_ref();
    let fork = || affinity::with_initial(affinity, || way.fork())?.attempt("clone", "process");
    let forked = match visit.through_passage() {
        true => passage::fork_visitor(&visit, fork).map_err(ExecError::from),
        false => enter::children_of(&visit.init)
            .and_then(|()| fork())
            .map_err(ExecError::from),
    };
    match forked.map_err(|err| way.explain(err))? {
        Fork::Child => {
            drop((channel, way));
            enter::live(visit, &child_channel)
        }
        Fork::Parent { pid, pidfd } => {
            log::debug(format_args!("process {pid} enters the container"));
            way.follow(pid);
            Ok(Visitor { pid, pidfd, channel })
        }
    }
}

impl Visitor {
    /// Lets it execute its program; returns its terminal, where the runtime serves that.
    fn converse(&self, record: &Record, agent: Option<&Agent>) -> Result<Option<OwnedFd>, ExecError> {
        // Who has removed the group has given up the share, as with runc.
        if let Some(membership) = record.intel_rdt.as_ref().filter(|membership| membership.is_there()) {
            membership.adopt(self.pid)?;
        }
        // Said before it is waited for: one wake-up less.
        let _ = self.channel.order(ToChild::Go);
        fail_point::reach("exec.ordered");
        let mut terminal = None;
        loop {
            match self.channel.hear().attempt("hear", "process")? {
                Some(FromChild::Terminal(master)) => terminal = Some(master),
                Some(FromChild::Listener(listener)) => self.introduce(listener, record, agent)?,
                Some(FromChild::Failed(text)) => return Err(ExecError::Child(text)),
                Some(FromChild::Unexecutable) => return Ok(terminal),
                Some(_) => {}
                None if has_executed(self.pid) == Some(false) => return Err(ExecError::Died),
                None => return Ok(terminal),
            }
        }
    }

    /// Gives the process's agent its listener.
    fn introduce(&self, listener: Listener, record: &Record, agent: Option<&Agent>) -> Result<(), ExecError> {
        let listener = seccomp_agent::receive(listener, &self.pidfd)?;
        self.channel.order(ToChild::Go).attempt("answer", "process")?;
        let agent = agent.ok_or(ExecError::Seccomp(SeccompError::NoListener))?;
        let state = state::for_agent(record, "running", self.pid, &agent.metadata)?;
        Ok(agent.hand_over(&listener, &state)?)
    }

    /// Says which process it is, and stays as long as the caller wants to; the answer is the exit code.
    fn attend(&self, args: &Exec, streams: Streams) -> Result<u8, ExecError> {
        if let Some(path) = &args.pid_file {
            write_pid_file(path, self.pid)?;
        }
        if let Some(path) = &args.pidfd_socket {
            pidfd_socket::send(path, &self.pidfd)?;
        }
        fail_point::reach("exec.executed");
        match args.detach {
            true => Ok(0),
            false => Ok(foreground::wait_for(self.pid, &self.pidfd, streams, None, || ())? as u8),
        }
    }
}
