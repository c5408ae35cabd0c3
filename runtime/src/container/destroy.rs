//! The end of a container: its processes, its cgroup, its folder.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use davit_cgroup::CgroupError;
use davit_spec::Hooks;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Signal, WaitId, WaitIdOptions, waitid},
};

use super::{
    record::Record,
    store::{Folder, StoreError},
};
use crate::{
    errno::{Attempt, CallError},
    hooks, log,
    rootfs::host_mount,
    state,
};

/// How long the kernel may take to be done with a killed process.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a container is still there.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// A process does not go away.
    #[error("container init still running")]
    Undying,
    /// The cgroup could not be removed.
    #[error("unable to remove container's cgroup: {0}")]
    Cgroup(#[from] CgroupError),
    /// The folder could not be removed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Kills every process of a container, and waits until the first one is gone.
pub fn kill(record: &Record) -> Result<(), DestroyError> {
    let init = record.init.open().attempt("open", "container init")?;
    let cgroup = record.cgroup()?;
    if let Some(init) = &init {
        send_kill(init)?;
    }
    // Whoever is not in the pid namespace of the first process does not die with it. A frozen process does not die
    // at all before it is thawed.
    if cgroup.exists() {
        if !record.own_pids {
            cgroup.kill_all(Signal::KILL.as_raw())?;
        }
        cgroup.thaw()?;
    }
    match init {
        Some(init) if !gone_within(&init, PATIENCE)? => Err(DestroyError::Undying),
        _ => Ok(()),
    }
}

/// Removes what is left of a stopped container, and runs its poststop hooks.
pub fn remove(folder: &Folder, record: &Record) -> Result<(), DestroyError> {
    let hooks = folder.config().map(|config| config.hooks).unwrap_or_default();
    remove_with(folder, record, &hooks)
}

/// [`remove`], for whoever knows the hooks already.
pub fn remove_with(folder: &Folder, record: &Record, hooks: &Hooks) -> Result<(), DestroyError> {
    let cgroup = record.cgroup()?;
    // Processes of a shared pid namespace, or of an exec, can be left when the first process is gone.
    if !record.own_pids && cgroup.exists() {
        cgroup.kill_all(Signal::KILL.as_raw())?;
    }
    cgroup.destroy()?;
    if let Some(id) = record.root_mount {
        host_mount::remove(&record.rootfs, id)?;
    }
    folder.remove()?;
    run_poststop(record, hooks);
    Ok(())
}

/// Runs the poststop hooks. A failing one is a warning: the container is gone whatever it says.
pub fn run_poststop(record: &Record, hooks: &Hooks) {
    if hooks.poststop.is_empty() {
        return;
    }
    let state = state::for_hook(record, 0, "stopped");
    if let Err(err) = hooks::run("poststop", &hooks.poststop, &state) {
        log::warn(&err.to_string());
    }
}

/// Kills a child of ours and takes its exit status.
pub fn kill_child(pidfd: &OwnedFd) {
    let _ = davit_sys::signals::send(pidfd.as_fd(), Signal::KILL.as_raw());
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

fn send_kill(pidfd: &OwnedFd) -> Result<(), CallError> {
    match davit_sys::signals::send(pidfd.as_fd(), Signal::KILL.as_raw()) {
        Err(err) if err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
        result => result.attempt("kill", "container init"),
    }
}

fn gone_within(pidfd: &OwnedFd, limit: Duration) -> Result<bool, CallError> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(count) => return Ok(count > 0),
            Err(errno) => return Err(errno).attempt("wait for", "container init"),
        }
    }
}
