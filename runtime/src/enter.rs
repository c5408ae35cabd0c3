//! A further process in a container: the child's side of `exec`.

use std::os::fd::{AsFd, OwnedFd};

use davit_cgroup::{Cgroup, Version};
use davit_spec::{MemoryPolicy, Personality, Process};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    process::setsid,
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use crate::{
    errno::{Attempt, CallError},
    init::{InitError, join_keyring},
    program::{Inheritance, Prepared, affinity, apparmor, limits, terminal, terminal::Console},
    rootfs::gate::Gate,
    talk::{Channel, FromChild, ToChild},
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
    /// The container's cgroup.
    pub cgroup: Cgroup,
    /// The container's first process.
    pub init: OwnedFd,
    /// Its pid.
    pub init_pid: i32,
    /// Where the terminal goes, if there is one.
    pub console: Option<Console>,
    /// What the program inherits beyond its config.
    pub inheritance: Inheritance,
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

/// Moves what will be forked next into the pid namespace of a container's first process.
pub fn children_of(init: &OwnedFd) -> Result<(), CallError> {
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::PROCESS_ID).attempt("join namespace", "pid")
}

/// Lives the new process's life; the process never returns from it.
pub fn live(visit: Visit, channel: &Channel) -> ! {
    let failure = match prepare(visit, channel) {
        Ok(prepared) => match channel.obey() {
            Ok(Some(ToChild::Go)) => match prepared.confine() {
                Ok(()) => prepared.execute(),
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
    let Visit {
        process,
        personality,
        memory_policy,
        keyring,
        cgroup,
        init,
        console,
        inheritance,
        init_pid: _,
    } = visit;
    davit_sys::signals::unblock_all().attempt("unblock", "signals")?;
    cgroup.join_self()?;
    affinity::finish(process.exec_cpu_affinity.as_ref())?;
    limits::oom_score(process.oom_score_adj)?;
    apparmor::change_on_exec(&process.apparmor_profile)?;
    if let Some(personality) = &personality {
        limits::personality(personality)?;
    }
    limits::memory_policy(memory_policy.as_ref())?;
    enter_namespaces(&init)?;
    drop((init, cgroup));
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
    Ok(Prepared::new(&process, inheritance)?)
}

/// All at once, by the handle of the first process: no path, and no moment between two of them. Namespaces that the
/// container shares with the host are joined too, which changes nothing.
fn enter_namespaces(init: &OwnedFd) -> Result<(), CallError> {
    let kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::CONTROL_GROUP;
    move_into_thread_name_spaces(init.as_fd(), kinds).attempt("join namespaces of", "container init")
}
