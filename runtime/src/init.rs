//! The first process of a container, from clone to execve.
//!
//! It is a fork of the runtime, single-threaded and not dumpable: no process that shares its pid namespace can look
//! into it (CVE-2016-9962), and its executable lies on a read-only mount (see [`crate::seal`]). Everything that needs
//! the host's view (cgroup files, the host's /proc, sources of binds) comes before the root is entered; after that
//! no descriptor of a host directory is left.

mod root;

use std::{ffi::CString, path::PathBuf};

use davit_cgroup::{Cgroup, CgroupError};
use davit_spec::{Config, NamespaceKind, Process};
use rustix::{
    fs::Mode,
    io::Errno as Kernel,
    process::{DumpableBehavior, chdir, set_dumpable_behavior, setsid, umask},
    system::{setdomainname, sethostname},
};

use crate::{
    container::{record::Record, start_gate::StartGate},
    errno::{Attempt, CallError},
    fail_point,
    hooks::{self, HookError},
    log,
    namespaces::{self, Shared},
    program::{
        DEFAULT_UMASK, Inheritance, Prepared, ProgramError, affinity,
        apparmor::{self, AppArmorError},
        limits::{self, LimitError},
        selinux::{self, SelinuxError},
        terminal::{self, Console, TerminalError},
    },
    rootfs::{devices::DeviceError, masks::MaskError, mount::MountError, planned::Planned},
    state::{self, StateError},
    talk::{Channel, FromChild, ToChild},
    user_namespace,
};

pub use root::inside;

/// Everything the first process needs to know.
#[derive(Debug)]
pub struct Plan {
    /// The validated config.
    pub config: Config,
    /// The container's record, but for the pid.
    pub record: Record,
    /// The root file system on the host.
    pub rootfs: PathBuf,
    /// The mounts of the config, understood.
    pub mounts: Vec<Planned>,
    /// Its cgroup, made and limited.
    pub cgroup: Cgroup,
    /// Namespaces to join.
    pub shared: Vec<Shared>,
    /// Where the terminal goes, if there is one.
    pub console: Option<Console>,
    /// What to wait at before the program; without it the word comes over the channel.
    pub start: Option<StartGate>,
    /// What the program inherits beyond its config.
    pub inheritance: Inheritance,
    /// Move the root instead of pivoting to it.
    pub no_pivot: bool,
    /// Whether the runtime is an ordinary user's.
    pub rootless: bool,
}

impl Plan {
    /// Whether the first process comes through a passage, which has done all that needs the host's privileges.
    pub fn has_user_namespace(&self) -> bool {
        user_namespace::is_wanted(&self.config.linux)
    }

    /// Whether the first process must be left alone until the runtime has done something with it from outside.
    fn waits_for_runtime(&self) -> bool {
        self.has_user_namespace() || self.cgroup.adopts()
    }

    /// Whether it has mounts of its own, or of somebody else's; without, its root is a mount of the runtime's namespace.
    pub fn has_mount_namespace(&self) -> bool {
        self.config.linux.namespace(NamespaceKind::Mount).is_some()
    }
}

/// Why the first process gave up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The cgroup could not be entered.
    #[error("unable to apply cgroup configuration: {0}")]
    Cgroup(#[from] CgroupError),
    /// A mount of the config failed.
    #[error(transparent)]
    Mount(#[from] Box<FailedMount>),
    /// A finishing touch on a mount failed.
    #[error("unable to finish rootfs: {0}")]
    Finish(#[from] MountError),
    /// /dev could not be furnished.
    #[error("error creating device nodes: {0}")]
    Device(#[from] DeviceError),
    /// A path could not be hidden or protected.
    #[error(transparent)]
    Mask(#[from] MaskError),
    /// A limit could not be set.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// No profile.
    #[error("unable to apply apparmor profile: {0}")]
    AppArmor(#[from] AppArmorError),
    /// No label.
    #[error(transparent)]
    Selinux(#[from] SelinuxError),
    /// No terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// A hook in the container failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// What its hooks are to get cannot be told.
    #[error(transparent)]
    Untold(#[from] StateError),
    /// The program cannot be executed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The runtime is gone.
    #[error("the runtime went away")]
    Abandoned,
}

/// A mount of the config that failed.
#[derive(Debug, thiserror::Error)]
#[error("error mounting {what:?} to rootfs at {destination:?}: {cause}")]
pub struct FailedMount {
    /// What was to be mounted.
    what: String,
    /// Where.
    destination: String,
    /// What went wrong.
    cause: MountError,
}

/// Lives the first process's life; the process never returns from it.
pub fn live(plan: Plan, channel: Channel) -> ! {
    let mut waiting = match set_up(plan, &channel) {
        Ok(waiting) => waiting,
        Err(failure) => give_up(&channel, &failure),
    };
    if waiting.is_open_to_user {
        let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    }
    log::debug(format_args!("init: closing the pipe to signal completion"));
    let (listener, word) = wait_for_word(waiting.start.take(), channel);
    match word.and_then(|()| before_execution(&waiting, &listener)) {
        Ok(()) => waiting.prepared.execute(&listener),
        Err(failure) => give_up(&listener, &failure),
    }
}

fn give_up(listener: &Channel, failure: &InitError) -> ! {
    // Whoever listens may be gone; the exit status then says it alone.
    let _ = listener.tell(FromChild::Failed(failure.to_string()));
    davit_sys::clone::exit_now(1)
}

/// All set up, but for the word.
struct Waiting {
    prepared: Prepared,
    start: Option<StartGate>,
    config: Config,
    record: Record,
    /// Whether the user who runs it may look into it, which it takes to join its user namespace (`exec` before `start`).
    /// Nothing of the host is left in it, and in namespaces of its own nobody else is there to look.
    is_open_to_user: bool,
}

/// Waits until the program may be executed. From then on somebody else may be listening.
fn wait_for_word(start: Option<StartGate>, channel: Channel) -> (Channel, Result<(), InitError>) {
    let Some(start) = start else {
        let word = match channel.obey() {
            Ok(Some(ToChild::Go)) => Ok(()),
            _ => Err(InitError::Abandoned),
        };
        return (channel, word);
    };
    davit_sys::signals::end_on_request();
    if channel.tell(FromChild::Ready).is_err() {
        return (channel, Err(InitError::Abandoned));
    }
    match start.wait() {
        Ok(connection) => (connection, Ok(())),
        Err(errno) => (
            channel,
            Err(errno).attempt("wait for", "start").map_err(InitError::Call),
        ),
    }
}

/// The hooks that run in the container are confined like the program.
fn before_execution(waiting: &Waiting, listener: &Channel) -> Result<(), InitError> {
    fail_point::reach("run.init-released");
    if !waiting.prepared.has_agent() {
        waiting.prepared.confine(listener)?;
    }
    let hooks = &waiting.config.hooks.start_container;
    if !hooks.is_empty() {
        let mut hooks = hooks.clone();
        // Alone of all hooks these may rely on the program's environment.
        for hook in &mut hooks {
            if hook.env.as_ref().is_none_or(Vec::is_empty) {
                hook.env = Some(waiting.prepared.environment());
            }
        }
        hooks::run("startContainer", &hooks, &own_state(&waiting.record, "created")?)?;
    }
    Ok(())
}

fn set_up(mut plan: Plan, channel: &Channel) -> Result<Waiting, InitError> {
    let mut process = plan.config.process.take().expect("validation has asked for a process");
    process.user.umask.get_or_insert(DEFAULT_UMASK);
    davit_sys::signals::unblock_all().attempt("unblock", "signals")?;
    let caller_mask = umask(Mode::empty());
    fail_point::reach("create.init-alone");
    log::relay_to(channel);
    log::debug(format_args!("nsexec container setup"));
    // The runtime must know the process before it does anything.
    if plan.waits_for_runtime() && !matches!(channel.obey(), Ok(Some(ToChild::Go))) {
        return Err(InitError::Abandoned);
    }
    enter_namespaces(&plan)?;
    fail_point::reach("create.init-joined");
    log::debug(format_args!("child process in init()"));
    act_on_self(&plan, &process)?;
    name_host(&plan.config)?;
    let root = root::build(&mut plan, channel)?;
    if let Some(console) = plan.console.take() {
        let slave = terminal::set_up(&root.gate, console, channel, process.console_size, &process.user)?;
        terminal::bind_console(&root.gate, &slave)?;
    }
    fail_point::reach("create.init-mounted");
    // Hooks make files as their caller would.
    umask(caller_mask);
    run_hooks(&plan, channel)?;
    umask(Mode::empty());
    // Not earlier: a hook is executed, too, and is the host's. Not later: the host's /proc is out of sight then.
    apparmor::change_on_exec(&process.apparmor_profile)?;
    selinux::change_on_exec(&process.selinux_label)?;
    root::finish(&plan, &process, root)?;
    fail_point::reach("create.init-rooted");
    let is_open_to_user = plan.rootless && plan.start.is_some() && plan.shared.is_empty();
    let Plan {
        config,
        record,
        start,
        inheritance,
        ..
    } = plan;
    let prepared = Prepared::new(&process, inheritance)?;
    // An agent is told by `create`, which it is waited for by: `start` may be called by somebody who knows of no agent.
    if prepared.has_agent() {
        prepared.confine(channel)?;
    }
    Ok(Waiting {
        prepared,
        start,
        config,
        record,
        is_open_to_user,
    })
}

fn enter_namespaces(plan: &Plan) -> Result<(), InitError> {
    if !plan.has_user_namespace() {
        plan.cgroup.join_self()?;
        affinity::all();
        namespaces::join(&plan.shared)?;
    }
    if plan.config.linux.has_new(NamespaceKind::Cgroup) {
        davit_sys::clone::unshare(davit_sys::clone::NEW_CGROUP).attempt("unshare", "cgroup namespace")?;
    }
    if plan.config.linux.has_new(NamespaceKind::Network) {
        davit_sys::loopback::set_up().attempt("set up", "lo")?;
    }
    Ok(())
}

/// What is said of the process itself, through the host's /proc where there is a file for it.
fn act_on_self(plan: &Plan, process: &Process) -> Result<(), InitError> {
    setsid().attempt("begin", "session")?;
    if plan.record.keyring {
        selinux::label_keyrings(&process.selinux_label)?;
        join_keyring(&plan.record.id)?;
    }
    if !plan.has_user_namespace() {
        limits::oom_score(process.oom_score_adj)?;
    }
    if let Some(personality) = &plan.config.linux.personality {
        limits::personality(personality)?;
    }
    limits::memory_policy(plan.config.linux.memory_policy.as_ref())?;
    Ok(())
}

/// Gives the calling process the container's session keyring.
pub fn join_keyring(id: &str) -> Result<(), CallError> {
    let name = CString::new(format!("_ses.{id}")).expect("an id has no NUL");
    match davit_sys::keyring::join_session(&name) {
        Err(err) if err.raw_os_error() == Some(Kernel::NOSYS.raw_os_error()) => Ok(()),
        result => result.attempt("join", "session keyring"),
    }
}

fn name_host(config: &Config) -> Result<(), CallError> {
    if !config.hostname.is_empty() {
        sethostname(config.hostname.as_bytes()).attempt("sethostname", &config.hostname)?;
    }
    if !config.domainname.is_empty() {
        setdomainname(config.domainname.as_bytes()).attempt("setdomainname", &config.domainname)?;
    }
    Ok(())
}

fn run_hooks(plan: &Plan, channel: &Channel) -> Result<(), InitError> {
    let hooks = &plan.config.hooks;
    // Interfaces come at the same moment, before kernel parameters are set that speak of them.
    if hooks.await_runtime() || !plan.config.linux.net_devices.is_empty() {
        channel.tell(FromChild::HooksDue).attempt("call", "runtime")?;
        if !matches!(channel.obey(), Ok(Some(ToChild::Go))) {
            return Err(InitError::Abandoned);
        }
    }
    if !hooks.create_container.is_empty() {
        // As runc has it: such hooks name what they add by paths below the root. It is entered soon after, anyway.
        chdir(&plan.rootfs).attempt("enter", plan.rootfs.display())?;
        hooks::run(
            "createContainer",
            &hooks.create_container,
            &own_state(&plan.record, "creating")?,
        )?;
    }
    Ok(())
}

/// The state that a hook in the container is given: with the pid that it sees itself.
fn own_state(record: &Record, status: &str) -> Result<String, StateError> {
    state::for_hook(record, std::process::id() as i32, status)
}
