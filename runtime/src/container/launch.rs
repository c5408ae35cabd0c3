//! Making a container: the runtime's side of what [`crate::init`] does on the other.

mod ground;
mod inputs;

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use davit_cgroup::{Cgroup, CgroupError};
use davit_seccomp::SeccompError;
use davit_spec::{Hook, NetDevice, SpecError};
use davit_sys::clone::{Fork, fork};

use super::{
    cgroup::{self, CgroupChoice},
    destroy,
    hearing::{self, HearError},
    id::ContainerId,
    process::{ProcessKey, has_executed},
    record::Record,
    start_gate::StartGate,
    store::{Claim, Folder, Store, StoreError},
    undo::Undo,
};
use crate::{
    errno::{Attempt, CallError},
    fail_point,
    foreground::Streams,
    hooks::{self, HookError},
    inherited::{self, InheritedError},
    init::{self, Plan},
    intel_rdt::IntelRdtError,
    log, namespaces,
    net_devices::{self, NetDeviceError, Relocation},
    notify_socket::{self, NotifySocket},
    program::{landlock::LandlockError, limits, pipes, selinux::SelinuxError},
    rootfs::planned::{self, PlanError, Planned},
    rootless::{RootlessError, is_rootless},
    seccomp_agent::{self, Agent, AgentError},
    state::{self, StateError},
    talk::{Channel, FromChild, ToChild},
    user_namespace::{
        passage::{self, PassageError},
        source::Sources,
    },
};

use ground::Ground;
pub(super) use ground::{make_groups, record};
pub use inputs::filter;
pub(super) use inputs::{console, membership, read_config, rootfs};
use inputs::{inheritance, notifications};

/// What a config is called in its bundle (runtime-spec, bundle.md).
pub const CONFIG: &str = "config.json";

/// What the command line says about a new container.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its id.
    pub id: ContainerId,
    /// The folder that the config's paths begin at.
    pub bundle: PathBuf,
    /// The config, which need not lie in there.
    pub config: PathBuf,
    /// Where to send the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// How many fds from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Move the root instead of pivoting to it.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Who makes its cgroup.
    pub cgroup: CgroupChoice,
    /// Whether the program waits for `start`, or is executed at once.
    pub wait_for_start: bool,
    /// Whether the runtime stays, so that it can serve a terminal or pipes itself.
    pub foreground: bool,
}

/// Why a container could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No config.json, or none that can be read.
    #[error("JSON specification file {path:?}: {cause}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: SpecError,
    },
    /// No config.json.
    #[error("JSON specification file {0} not found")]
    NoConfig(PathBuf),
    /// What an ordinary user cannot have.
    #[error(transparent)]
    Rootless(#[from] RootlessError),
    /// A terminal and nobody to serve it.
    #[error("cannot allocate tty if runtime will detach without setting console socket")]
    NoConsoleSocket,
    /// Somebody to serve a terminal and none asked for.
    #[error("cannot use console socket if runtime will not detach or allocate tty")]
    NoTerminal,
    /// The rootfs is no directory.
    #[error("invalid rootfs: {0}")]
    Rootfs(CallError),
    /// A mount that contradicts itself.
    #[error(transparent)]
    Mount(#[from] PlanError),
    /// The id is taken, or its folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A limit that this machine cannot enforce, or a cgroup that cannot be.
    #[error("invalid configuration: {0}")]
    Limits(CgroupError),
    /// The cgroup could not be made or limited.
    #[error(
        "unable to start container process: error during container init: unable to apply cgroup configuration: {0}"
    )]
    Cgroup(#[from] CgroupError),
    /// Its user namespace could not be mapped, or joined.
    #[error("unable to start container process: {0}")]
    Passage(#[from] PassageError),
    /// The filter could not be compiled.
    #[error("unable to start container process: unable to init seccomp: {0}")]
    Seccomp(#[from] SeccompError),
    /// A label that nobody would enforce.
    #[error("{0}")]
    Selinux(#[from] SelinuxError),
    /// No share of the caches or of the memory bandwidth.
    #[error(transparent)]
    IntelRdt(#[from] IntelRdtError),
    /// An interface that could not be moved.
    #[error("unable to start container process: error during container init: {0}")]
    NetDevice(#[from] NetDeviceError),
    /// The annotation that restricts the program.
    #[error(transparent)]
    Landlock(#[from] LandlockError),
    /// The seccomp agent could not be told.
    #[error("unable to start container process: error during container init: {0}")]
    Agent(#[from] AgentError),
    /// A hook failed.
    #[error("unable to start container process: {0}")]
    Hook(#[from] HookError),
    /// What its hooks or its agent are to get cannot be told.
    #[error("unable to start container process: {0}")]
    Untold(#[from] StateError),
    /// A descriptor to pass on is not open.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The first process says nothing.
    #[error("unable to start container process: {0}")]
    Unheard(#[from] HearError),
    /// The first process gave up, in its own words.
    #[error("unable to start container process: error during container init: {0}")]
    Init(String),
    /// The first process is gone without a word.
    #[error("unable to start container process: container init died without a word (killed, or out of memory?)")]
    Died,
    /// The first process, or one on its way to it, was killed for want of memory.
    #[error("unable to start container process: container init was OOM-killed (memory limit too low?)")]
    OomKilled,
}

/// A container that was made, and started if that was asked for.
#[derive(Debug)]
pub struct Launched {
    /// Its folder.
    pub folder: Folder,
    /// Its record.
    pub record: Record,
    /// Its hooks and limits.
    pub hooks: davit_spec::Hooks,
    /// A handle on its first process.
    pub pidfd: OwnedFd,
    /// Its standard streams, where the runtime serves them itself.
    pub streams: Streams,
    /// Where its service speaks to the caller's manager.
    pub notifications: Option<NotifySocket>,
    /// The interfaces that it was given, for as long as they may have to be taken back.
    pub net_devices: Option<Relocation>,
}

impl Launched {
    /// Nothing can go wrong any more that the container would have to be taken back for.
    pub fn settle(&mut self) {
        if let Some(net_devices) = self.net_devices.take() {
            net_devices.keep();
        }
    }

    /// Ends and removes the container, where something goes wrong after it was made: that is what the caller is told.
    pub fn take_back(self) {
        destroy::kill_init(&self.pidfd, self.record.cgroup().ok().as_ref());
        drop(self.net_devices);
        destroy::remove_ended(&self.folder, &self.record, &self.hooks);
    }
}

/// Makes a container. On failure nothing of it is left.
pub fn launch(store: &Store, launch: &Launch) -> Result<Launched, LaunchError> {
    let (mut config, json) = read_config(&launch.config)?;
    inherited::close_others(launch.preserve_fds);
    let console = console(&config, launch)?;
    let rootfs = rootfs(&config, &launch.bundle)?;
    let manager = notify_socket::announce(&mut config, &store.place(&launch.id));
    let mounts = planned::plan(&config)?;
    let mut inheritance = inheritance(&config, launch, store)?;
    let agent = Agent::of(&config.linux, inheritance.seccomp.as_ref())?;
    let shared = inputs::shared(&config, launch)?;
    let cgroup = cgroup::plan(&config, &launch.id, launch.cgroup).map_err(LaunchError::Limits)?;
    cgroup::warn_of_limits(&cgroup, config.linux.resources.as_ref());
    let intel_rdt = membership(&config, &launch.id)?;

    let (folder, claim) = store.reserve(&launch.id, &json)?;
    let mut claim = Some(claim);
    let mut undo = Undo::new(&folder);
    fail_point::reach("create.claimed");
    let notifications = notifications(manager, &folder, launch)?;
    let ground = Ground {
        config: &config,
        rootfs: &rootfs,
        cgroup,
        intel_rdt,
    };
    let (record, cgroup) = ground.make(launch, &mut undo)?;
    let start = match launch.wait_for_start {
        true => Some(StartGate::new(&folder).attempt("listen in", folder.path().display())?),
        false => None,
    };
    let mut streams = Streams::Callers;
    if launch.foreground && console.is_none() {
        let (program, own) = pipes::make()?;
        inheritance.streams = Some(program);
        streams = Streams::Pipes(own);
    }
    let hooks = config.hooks.clone();
    undo.poststop = Some((record.clone(), hooks.clone()));
    let aid = Aid {
        agent,
        devices: config.linux.net_devices.clone(),
    };
    let plan = Plan {
        config,
        record,
        rootfs,
        mounts,
        cgroup,
        shared,
        console,
        start,
        inheritance,
        no_pivot: launch.no_pivot,
        rootless: is_rootless(),
    };
    let mut launched = start_init(plan, &mut undo, &mut claim, hooks, aid, launch.wait_for_start)?;
    launched.notifications = notifications;
    if let Streams::Callers = launched.streams {
        launched.streams = streams;
    }
    fail_point::reach("create.complete");
    if let Err(err) = folder.container_is_made() {
        destroy::kill_child(&launched.pidfd);
        return Err(err.into());
    }
    undo.disarm();
    Ok(launched)
}

/// What the runtime does for the first process that this cannot do itself.
struct Aid {
    /// Whom it tells of a filter that asks.
    agent: Option<Agent>,
    /// What it moves into the network namespace.
    devices: BTreeMap<String, NetDevice>,
}

/// Forks the first process and talks with it until it is set up, or has executed the program.
fn start_init(
    plan: Plan,
    undo: &mut Undo,
    claim: &mut Option<Claim>,
    hooks: davit_spec::Hooks,
    aid: Aid,
    wait: bool,
) -> Result<Launched, LaunchError> {
    let (channel, child_channel) = Channel::pair().attempt("make", "socket pair")?;
    let mut record = plan.record.clone();
    let place = plan.cgroup.clone();
    let cgroup = place.clone_fd()?;
    let has_user_namespace = plan.has_user_namespace();
    let needs_sources = has_user_namespace || plan.mounts.iter().any(Planned::is_on_device);
    let sources = needs_sources.then(|| Sources::of(&plan.mounts, &plan.record.bundle));
    let forked = fork_init(&plan, cgroup.as_ref().map(|fd| fd.as_fd()));
    let (pid, pidfd) = match forked.map_err(|err| with_cause(err, &place))? {
        Fork::Child => {
            drop((channel, cgroup, claim.take()));
            init::live(plan, child_channel)
        }
        Fork::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop((child_channel, plan));
    fail_point::reach("create.forked");
    log::debug(format_args!("container init is process {pid}"));
    if has_user_namespace && !place.adopts() {
        channel.order(ToChild::Go).map_err(|_| LaunchError::Died)?;
    }
    let mut launched = Launched {
        folder: undo.folder().clone(),
        record: record.clone(),
        hooks,
        pidfd,
        streams: Streams::Callers,
        notifications: None,
        net_devices: None,
    };
    let made = ProcessKey::of(pid).ok_or(LaunchError::Died).and_then(|key| {
        record.init = key;
        launched.record = record;
        launched.folder.save(&launched.record)?;
        fail_point::reach("create.recorded");
        if place.adopts() {
            place.adopt(pid)?;
            undo.owns_cgroup = true;
            channel.order(ToChild::Go).map_err(|_| LaunchError::Died)?;
        }
        if let Some(membership) = &launched.record.intel_rdt {
            membership.adopt(pid)?;
        }
        converse(&mut launched, &channel, wait, sources.as_ref(), &aid)
    });
    match made {
        Ok(()) => Ok(launched),
        Err(err) => {
            destroy::kill_init(&launched.pidfd, undo.own_cgroup());
            Err(with_cause(err, &place))
        }
    }
}

/// The cause of a death without a word, where the kernel counts it.
fn with_cause(err: LaunchError, cgroup: &Cgroup) -> LaunchError {
    match err {
        LaunchError::Died | LaunchError::Passage(PassageError::Died)
            if cgroup.oom_kills() > cgroup.earlier_oom_kills() =>
        {
            LaunchError::OomKilled
        }
        other => other,
    }
}

fn fork_init(plan: &Plan, cgroup: Option<BorrowedFd>) -> Result<Fork, LaunchError> {
    if plan.has_user_namespace() {
        if let Some(process) = &plan.config.process {
            limits::raise_hard(&process.rlimits);
        }
        return Ok(passage::fork_init(plan, cgroup)?);
    }
    let linux = &plan.config.linux;
    let flags = namespaces::made_by_clone(linux);
    let forked = namespaces::with_new_time(linux, || {
        namespaces::with_pids_of(&plan.shared, || fork(flags, cgroup))
            .and_then(|forked| forked.attempt("clone", "container init"))
    })?;
    Ok(forked?)
}

fn converse(
    launched: &mut Launched,
    channel: &Channel,
    wait: bool,
    sources: Option<&Sources>,
    aid: &Aid,
) -> Result<(), LaunchError> {
    let hooks_due = launched.hooks.await_runtime() || !aid.devices.is_empty();
    let go = || channel.order(ToChild::Go).map_err(|_| LaunchError::Died);
    // The word may be said before it is waited for: one wake-up less.
    if !wait && !hooks_due {
        let _ = go();
    }
    loop {
        match hearing::hear(channel, &launched.record)? {
            Some(FromChild::HooksDue) => {
                launched.net_devices = net_devices::relocate(&aid.devices, launched.record.init.pid)?;
                let state = state::for_hook(&launched.record, launched.record.init.pid, "creating")?;
                let run = |point, hooks: &[Hook]| hooks::run_for(launched.pidfd.as_fd(), point, hooks, &state);
                run("prestart", &launched.hooks.prestart)?;
                run("createRuntime", &launched.hooks.create_runtime)?;
                fail_point::reach("create.hooks-run");
                go()?;
                if !wait {
                    let _ = go();
                }
            }
            Some(FromChild::SourceDue(index)) => match sources {
                Some(sources) => sources.serve(&launched.pidfd, index, channel)?,
                None => return Err(LaunchError::Died),
            },
            Some(FromChild::Terminal(master)) => launched.streams = Streams::Terminal(master),
            Some(FromChild::Listener(listener)) => {
                let listener = seccomp_agent::receive(listener, &launched.pidfd)?;
                go()?;
                let agent = aid.agent.as_ref().ok_or(SeccompError::NoListener)?;
                let record = &launched.record;
                let state = state::for_agent(record, "creating", record.init.pid, &agent.metadata)?;
                agent.hand_over(&listener, &state)?;
            }
            Some(FromChild::Ready | FromChild::Unexecutable) => return Ok(()),
            Some(FromChild::Failed(text)) => return Err(LaunchError::Init(text)),
            Some(FromChild::UserNamespaceDue | FromChild::Init(..)) => return Err(LaunchError::Died),
            None if wait || has_executed(launched.record.init.pid) == Some(false) => return Err(LaunchError::Died),
            None => return Ok(()),
        }
    }
}
