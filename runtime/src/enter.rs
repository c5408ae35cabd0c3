//! A further process in a container: the child's side of `exec`.

use std::os::fd::{AsFd, OwnedFd};

use davit_cgroup::{Cgroup, Version};
use davit_spec::{Linux, MemoryPolicy, NamespaceKind, Personality, Process};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    process::setsid,
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use crate::{
    container::process::ProcessKey,
    errno::{Attempt, CallError},
    fail_point,
    init::{InitError, join_keyring},
    log,
    program::{Inheritance, Prepared, affinity, apparmor, limits, selinux, terminal, terminal::Console},
    rootfs::{gate::Gate, pivot},
    talk::{Channel, FromChild, ToChild},
    user_namespace::become_root,
};

/// Everything the new process needs to know.
#[derive(Debug)]
pub struct Visit {
    /// What to execute, validated.
    pub process: Process,
    /// The container's execution domain.
    pub personality: Option<Personality>,
    /// The container's memory policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// The container's id, where it has a keyring of its own.
    pub keyring: Option<String>,
    /// The container's cgroup, or one below it.
    pub cgroup: Cgroup,
    /// Whether it is the caller who has named it: then the process goes there or nowhere.
    pub cgroup_is_named: bool,
    /// The container's first process.
    pub init: OwnedFd,
    /// Its pid.
    pub init_pid: i32,
    /// Its root directory, where the container has no mount namespace that begins with it.
    pub root: Option<OwnedFd>,
    /// The container's own namespaces.
    pub namespaces: ThreadNameSpaceType,
    /// Whether the runtime is an ordinary user's.
    pub rootless: bool,
    /// Where the terminal goes, if there is one.
    pub console: Option<Console>,
    /// What the program inherits beyond its config.
    pub inheritance: Inheritance,
}

impl Visit {
    /// Whether the container has a user namespace.
    pub fn has_user_namespace(&self) -> bool {
        self.namespaces.contains(ThreadNameSpaceType::USER)
    }

    /// Whether the new process comes through a passage, in its user and pid namespace and cgroup already.
    pub fn through_passage(&self) -> bool {
        self.rootless && self.has_user_namespace()
    }
}

/// What a config's container has of its own, or shares with others than the runtime.
pub fn kinds(linux: &Linux) -> ThreadNameSpaceType {
    let kind = |kind| match kind {
        NamespaceKind::Pid => ThreadNameSpaceType::PROCESS_ID,
        NamespaceKind::Network => ThreadNameSpaceType::NETWORK,
        NamespaceKind::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        NamespaceKind::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        NamespaceKind::Mount => ThreadNameSpaceType::MOUNT,
        NamespaceKind::User => ThreadNameSpaceType::USER,
        NamespaceKind::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
        NamespaceKind::Time => ThreadNameSpaceType::TIME,
    };
    linux
        .namespaces
        .iter()
        .fold(ThreadNameSpaceType::empty(), |kinds, namespace| {
            kinds | kind(namespace.kind)
        })
}

/// The cgroup v2 directory that a process is in, where that is the machine's only hierarchy.
pub fn cgroup_of(cgroup: &Cgroup, pid: i32) -> Option<OwnedFd> {
    if cgroup.version() != Version::V2 {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, format!("/sys/fs/cgroup/{path}"), flags, Mode::empty()).ok()
}

/// The root directory of the first process of a container without a mount namespace.
pub fn root_of(namespaces: ThreadNameSpaceType, init: ProcessKey) -> Result<Option<OwnedFd>, CallError> {
    if namespaces.contains(ThreadNameSpaceType::MOUNT) {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", init.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &path, flags, Mode::empty()).attempt("open", &path)?;
    // Asked afterwards: what was opened is no later process's, then.
    match init.is_alive() {
        true => Ok(Some(root)),
        false => Err(Kernel::SRCH).attempt("open", path),
    }
}

/// Moves what will be forked next into the pid namespace of a container's first process.
pub fn children_of(init: &OwnedFd) -> Result<(), CallError> {
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::PROCESS_ID).attempt("join namespace", "pid")
}

/// Lives the new process's life; the process never returns from it.
pub fn live(visit: Visit, channel: &Channel) -> ! {
    let failure = match prepare(visit, channel) {
        Ok(prepared) => match channel.obey() {
            Ok(Some(ToChild::Go)) => match prepared.confine(channel) {
                Ok(()) => prepared.execute(channel),
                Err(failure) => failure.into(),
            },
            _ => InitError::Abandoned,
        },
        Err(failure) => failure,
    };
    let _ = channel.tell(FromChild::Failed(failure.to_string()));
    davit_sys::clone::exit_now(1)
}

fn prepare(visit: Visit, channel: &Channel) -> Result<Prepared, InitError> {
    let passed = visit.through_passage();
    let Visit {
        process,
        personality,
        memory_policy,
        keyring,
        cgroup,
        cgroup_is_named: _,
        init,
        console,
        inheritance,
        init_pid: _,
        root,
        namespaces,
        rootless,
    } = visit;
    davit_sys::signals::unblock_all().attempt("unblock", "signals")?;
    log::relay_to(channel);
    log::debug(format_args!("nsexec container setup"));
    if !passed {
        cgroup.join_self()?;
        limits::oom_score(process.oom_score_adj)?;
    }
    affinity::finish(process.exec_cpu_affinity.as_ref())?;
    apparmor::change_on_exec(&process.apparmor_profile)?;
    selinux::change_on_exec(&process.selinux_label)?;
    if keyring.is_some() {
        selinux::label_keyrings(&process.selinux_label)?;
    }
    if let Some(personality) = &personality {
        limits::personality(personality)?;
    }
    limits::memory_policy(memory_policy.as_ref())?;
    fail_point::reach("exec.child-joined");
    enter_namespaces(&init, namespaces, rootless)?;
    if let Some(root) = root {
        pivot::change_root(&root)?;
    }
    fail_point::reach("exec.child-entered");
    drop((init, cgroup));
    log::debug(format_args!("child process in init()"));
    setsid().attempt("begin", "session")?;
    if let Some(id) = keyring {
        join_keyring(&id)?;
    }
    if let Some(console) = console {
        let root = openat(
            CWD,
            "/",
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .attempt("open", "/")?;
        terminal::set_up(&Gate::new(root), console, channel, process.console_size, &process.user)?;
    }
    let prepared = Prepared::new(&process, inheritance)?;
    log::debug(format_args!("setns_init: about to exec"));
    Ok(prepared)
}

/// All at once, by the handle of the first process: no path, no moment between two of them, and those that the user
/// namespace does not own are still within reach.
fn enter_namespaces(init: &OwnedFd, own: ThreadNameSpaceType, rootless: bool) -> Result<(), CallError> {
    // The process is in the pid namespace already: the next would be for its children.
    let own = own - ThreadNameSpaceType::PROCESS_ID;
    let enter = |kinds| move_into_thread_name_spaces(init.as_fd(), kinds);
    if rootless {
        // The user namespace is entered already, and what belongs to the host cannot be.
        return enter(own - ThreadNameSpaceType::USER).attempt("join namespaces of", "container init");
    }
    // Namespaces that the container shares with the host are joined too: the caller may be in others. Where the host's
    // are out of reach, the runtime is in a user namespace itself.
    let all = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP
        | own;
    match enter(all) {
        Err(Kernel::PERM) => enter(own),
        entered => entered,
    }
    .attempt("join namespaces of", "container init")?;
    match own.contains(ThreadNameSpaceType::USER) {
        true => become_root(false),
        false => Ok(()),
    }
}
