//! The process between the runtime and a process in a user namespace.
//!
//! ```text
//! runtime ── fork ──▶ passage: the runtime's privileges: cgroup, score, namespaces to join
//!    │                   │ enters the user namespace
//!    │ ◀── due ──────────┤
//!    ├── maps it ── go ─▶│ becomes its root
//!    │                   └── clone(CLONE_PARENT) ──▶ first process, a child of the runtime
//!    │ ◀── pid, pidfd ───┤ ends
//!    └── go ─────────────────────────────────────────▶ goes on in init.rs
//! ```
//!
//! It stays in the runtime's pid namespace, so no process of the container ever sees it. Whoever dies, the others
//! follow: each waits for a word of the other, and the end of the connection is none.

use std::os::fd::{AsFd, BorrowedFd};

use davit_spec::NamespaceKind;
use davit_sys::clone::{Fork, NEW_TIME, NEW_USER, exit_now, fork, fork_sibling, unshare};
use rustix::{
    process::{DumpableBehavior, WaitId, WaitIdOptions, set_dumpable_behavior, waitid},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use super::{
    become_root,
    maps::{self, MapError},
    streams,
};
use crate::{
    enter::Visit,
    errno::{Attempt, CallError},
    fail_point,
    init::{InitError, Plan},
    namespaces,
    program::{affinity, limits},
    rootless::is_rootless,
    talk::{Channel, FromChild, ToChild},
};

/// Why nobody came out of the passage.
#[derive(Debug, thiserror::Error)]
pub enum PassageError {
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The user namespace could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// It gave up, in its own words.
    #[error("error during container init: {0}")]
    Failed(String),
    /// It is gone without a word.
    #[error("process on the way into the user namespace died without a word (killed, or out of memory?)")]
    Died,
}

/// Forks the first process through the container's user namespace; the passage is in `cgroup` (v2), and so is what
/// comes of it. The child waits for a [`ToChild::Go`] of its own.
pub fn fork_init(plan: &Plan, cgroup: Option<BorrowedFd>) -> Result<Fork, PassageError> {
    through(
        || fork(0, cgroup).attempt("clone", "process on the way into the user namespace"),
        |channel| pass(plan, channel),
        |pid| {
            let linux = &plan.config.linux;
            maps::settle(pid, linux)?;
            fail_point::reach("create.user-namespace-settled");
            if linux.has_new(NamespaceKind::Time) {
                namespaces::set_time_offsets(&pid.to_string(), linux)?;
            }
            if let (Some(process), Some(ends)) = (&plan.config.process, &plan.inheritance.streams) {
                streams::hand_over(ends, pid, &process.user);
            }
            Ok(())
        },
    )
}

/// Forks a further process of a container through its user namespace and into its pid namespace, for an ordinary user:
/// only from within can that user join the others.
pub fn fork_visitor(visit: &Visit, fork: impl FnOnce() -> Result<Fork, CallError>) -> Result<Fork, PassageError> {
    through(fork, |channel| pass_visitor(visit, channel), |_| Ok(()))
}

fn through(
    fork: impl FnOnce() -> Result<Fork, CallError>,
    pass: impl FnOnce(&Channel) -> Result<(), InitError>,
    settle: impl FnOnce(i32) -> Result<(), PassageError>,
) -> Result<Fork, PassageError> {
    let (channel, passage_channel) = Channel::pair().attempt("make", "socket pair")?;
    match fork()? {
        Fork::Child => {
            drop(channel);
            match pass(&passage_channel) {
                Ok(()) => Ok(Fork::Child),
                Err(failure) => {
                    let _ = passage_channel.tell(FromChild::Failed(failure.to_string()));
                    exit_now(1)
                }
            }
        }
        Fork::Parent { pid, pidfd } => {
            drop(passage_channel);
            let made = accompany(pid, &channel, settle);
            drop(channel);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            made
        }
    }
}

/// The runtime's side.
fn accompany(
    pid: i32,
    channel: &Channel,
    settle: impl FnOnce(i32) -> Result<(), PassageError>,
) -> Result<Fork, PassageError> {
    let mut settle = Some(settle);
    loop {
        match channel.hear().attempt("hear", "passage to user namespace")? {
            Some(FromChild::UserNamespaceDue) => {
                settle.take().map_or(Ok(()), |settle| settle(pid))?;
                channel.order(ToChild::Go).map_err(|_| PassageError::Died)?;
            }
            Some(FromChild::Init(pid, pidfd)) => return Ok(Fork::Parent { pid, pidfd }),
            Some(FromChild::Failed(text)) => return Err(PassageError::Failed(text)),
            Some(_) | None => return Err(PassageError::Died),
        }
    }
}

/// The passage's life; returns in the container's first process only.
fn pass(plan: &Plan, channel: &Channel) -> Result<(), InitError> {
    let rootless = is_rootless();
    let linux = &plan.config.linux;
    let process = plan.config.process.as_ref();
    if rootless {
        be_open_to_user()?;
    }
    plan.cgroup.join_self()?;
    affinity::all();
    limits::oom_score(process.and_then(|process| process.oom_score_adj))?;
    namespaces::join_across(&plan.shared, || become_root(rootless).map_err(InitError::Call))?;
    let flag = |kind, flag| if linux.has_new(kind) { flag } else { 0 };
    let first = flag(NamespaceKind::User, NEW_USER) | flag(NamespaceKind::Time, NEW_TIME);
    if first != 0 {
        unshare(first).attempt("unshare", "user namespace")?;
    }
    if rootless {
        be_open_to_user()?;
    }
    fail_point::reach("create.user-namespace-entered");
    channel.tell(FromChild::UserNamespaceDue).attempt("call", "runtime")?;
    match channel.obey() {
        Ok(Some(ToChild::Go)) => {}
        _ => return Err(InitError::Abandoned),
    }
    fail_point::reach("create.user-namespace-mapped");
    if linux.has_new(NamespaceKind::User) {
        become_root(rootless)?;
    }
    come_out(namespaces::made_by_clone(linux), channel)
}

fn pass_visitor(visit: &Visit, channel: &Channel) -> Result<(), InitError> {
    be_open_to_user()?;
    visit.cgroup.join_self()?;
    limits::oom_score(visit.process.oom_score_adj)?;
    let kinds = ThreadNameSpaceType::USER | (visit.namespaces & ThreadNameSpaceType::PROCESS_ID);
    move_into_thread_name_spaces(visit.init.as_fd(), kinds).attempt("join namespace", "user")?;
    become_root(true)?;
    come_out(0, channel)
}

fn come_out(namespaces: u64, channel: &Channel) -> Result<(), InitError> {
    crate::seal::hide()?;
    match fork_sibling(namespaces).attempt("clone", "process in user namespace")? {
        Fork::Child => Ok(()),
        Fork::Parent { pid, pidfd } => {
            fail_point::reach("create.user-namespace-left");
            let _ = channel.tell(FromChild::Init(pid, pidfd));
            exit_now(0)
        }
    }
}

/// Of a process that cannot be dumped, not even the user who runs it may write the maps and the score. Entering a user
/// namespace takes it back.
fn be_open_to_user() -> Result<(), CallError> {
    set_dumpable_behavior(DumpableBehavior::Dumpable).attempt("make dumpable", "passage to user namespace")
}
