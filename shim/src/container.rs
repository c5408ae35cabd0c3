//! One container: its init and its execs, through the runtime.
//!
//! The order of events is the order of a life: created, started, exited, deleted; and the exit of init is the last exit. Four
//! things make that hold:
//!
//! - *Init ends before `start` has returned.* Whoever starts init holds the container's `order` lock until the start is
//!   published; whoever has seen init's end takes the same lock first.
//! - *Init ends while execs run.* With a pid namespace of its own the kernel kills the execs and lets init be waited for only
//!   when they are; without one the runtime is asked to kill them. In both cases init's exit is held back until the exit of each
//!   exec is published. No exec may start once init has ended, and one that was just being started is killed.
//! - *A checkpoint ends init.* Whoever wants that holds the same lock until the checkpoint is published.
//! - *A process ends before its pid is known*: see [`crate::reaper`].

mod checkpoint;
mod create;
mod delete;
mod exec;
mod exits;
mod handover;
mod init;
mod restore;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use davit_vocabulary::{ContainerId, ExecId};
use tokio::sync::watch;

pub use self::{create::CreateRequest, handover::ContainerState, restore::Checkpoint};
use crate::{
    bundle::Bundle,
    cgroup::{Cgroup, OomWatch},
    error::TaskError,
    events::Outbox,
    exit::Exit,
    oci::Oci,
    process::{Process, Status},
    reaper::Reaper,
};

/// What all containers of a shim share.
#[derive(Debug)]
pub struct Host {
    /// The container, or the sandbox, that this shim was started for. The others of a group joined it.
    pub id: ContainerId,
    /// The namespace of all its containers.
    pub namespace: String,
    /// A folder for console sockets.
    pub sockets: PathBuf,
    /// Waits for children.
    pub reaper: Arc<Reaper>,
    /// Tells the manager.
    pub outbox: Arc<Outbox>,
}

/// A container that the runtime has created, or is to restore when it is started.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: Bundle,
    /// Its first process.
    pub init: Process,
    host: Arc<Host>,
    oci: Oci,
    /// What init is to be restored from, where it is not made afresh.
    checkpoint: Option<Checkpoint>,
    /// Where it is accounted; unset before init exists, and if the runtime gave it no cgroup of its own.
    cgroup: OnceLock<Cgroup>,
    /// Held by who reports kills for want of memory.
    oom_watch: OnceLock<Weak<OomWatch>>,
    own_pids: bool,
    /// Owner of its streams' pipes.
    owner: (u32, u32),
    execs: Mutex<BTreeMap<ExecId, Arc<Process>>>,
    /// Held while init starts, while a checkpoint ends it, and while its end is published.
    order: tokio::sync::Mutex<()>,
    /// Execs that run or are being started.
    busy_execs: watch::Sender<usize>,
    init_ended: AtomicBool,
    paused: AtomicBool,
    deleted: AtomicBool,
    oom_kills: AtomicU64,
}

impl Container {
    /// Init, or the exec of this id.
    pub fn process(&self, exec: &str) -> Result<ProcessRef<'_>, TaskError> {
        if exec.is_empty() {
            return Ok(ProcessRef::Init(&self.init));
        }
        let execs = self.execs();
        let found = execs.get(exec).ok_or_else(|| TaskError::NoProcess(exec.into()))?;
        Ok(ProcessRef::Exec(found.clone()))
    }

    /// Where it is accounted, once it is.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.get()
    }

    /// Whether its processes are frozen.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// All processes of the container, and the exec of those that are one.
    ///
    /// Init is among them until it is deleted, also when it has ended: a containerd that finds a shim without processes after its
    /// own restart takes it for a leak and deletes the container, and its exit with it.
    pub fn processes(&self) -> Result<Vec<(u32, Option<ExecId>)>, TaskError> {
        if let Status::Stopped(_) = self.init.status() {
            return Ok(vec![(self.init.pid(), None)]);
        }
        let cgroup = self
            .cgroup()
            .ok_or_else(|| TaskError::State("the container has no cgroup".into()))?;
        let pids = cgroup
            .processes()
            .map_err(TaskError::io("cannot read the container's cgroup"))?;
        let execs: BTreeMap<u32, ExecId> = self.execs().iter().map(|(id, exec)| (exec.pid(), id.clone())).collect();
        Ok(pids.into_iter().map(|pid| (pid, execs.get(&pid).cloned())).collect())
    }

    fn execs(&self) -> MutexGuard<'_, BTreeMap<ExecId, Arc<Process>>> {
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_init_ended(&self) -> bool {
        self.init_ended.load(Ordering::Relaxed)
    }
}

/// Init or an exec.
pub enum ProcessRef<'a> {
    /// The container's first process.
    Init(&'a Process),
    /// Another.
    Exec(Arc<Process>),
}

impl std::ops::Deref for ProcessRef<'_> {
    type Target = Process;

    fn deref(&self) -> &Process {
        match self {
            Self::Init(process) => process,
            Self::Exec(process) => process,
        }
    }
}

/// A process that is gone: what `delete` answers.
#[derive(Debug, Clone, Copy)]
pub struct Deleted {
    /// 0 if it never existed.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
}
