//! The end of a container: its processes, its cgroup, its folder.

use std::{
    os::fd::{AsFd, OwnedFd},
    thread::sleep,
    time::{Duration, Instant},
};

use davit_cgroup::{Cgroup, CgroupError};
use davit_spec::Hooks;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};

use super::{
    record::Record,
    store::{Claim, Folder, StoreError},
};
use crate::{
    errno::{Attempt, CallError},
    fail_point, hooks,
    intel_rdt::IntelRdtError,
    log,
    poll::is_readable_within,
    rootfs::host_mount,
    state,
};

/// How long the kernel may take to be done with a killed process.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// How often whoever was killed may be frozen again.
const LOOK: Duration = Duration::from_millis(200);

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
    /// The group of resctrl could not be removed.
    #[error(transparent)]
    IntelRdt(#[from] IntelRdtError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Kills every process of a container, and waits until the first one is gone.
pub fn kill(record: &Record) -> Result<(), DestroyError> {
    let init = record.init.open().attempt("open", "container init")?;
    let cgroup = record.cgroup()?;
    if let Some(init) = &init {
        send_kill(init, "container init")?;
    }
    // Whoever is not in the pid namespace of the first process does not die with it.
    if !record.own_pids {
        kill_all(&cgroup)?;
    }
    init.map_or(Ok(()), |init| see_off(&init, &cgroup))
}

/// Waits for the end of a killed process, which somebody may have frozen, and may freeze again.
fn see_off(init: &OwnedFd, cgroup: &Cgroup) -> Result<(), DestroyError> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if cgroup.exists() {
            cgroup.kill_frozen()?;
        }
        if gone_within(init, LOOK)? {
            return Ok(());
        }
    }
    Err(DestroyError::Undying)
}

/// Removes what is left of a stopped container, and runs its poststop hooks. Nothing is done where somebody else has.
pub fn remove_with(folder: &Folder, record: &Record, hooks: &Hooks) -> Result<(), DestroyError> {
    folder
        .claim()?
        .map_or(Ok(()), |claim| remove(&claim, folder, record, hooks))
}

/// [`remove_with`], where a failure is nothing beside the program's exit code, or beside why the container ends: it is said.
pub fn remove_ended(folder: &Folder, record: &Record, hooks: &Hooks) {
    if let Err(err) = remove_with(folder, record, hooks) {
        log::warn(&format!("{err}; delete --force removes what is left of the container"));
    }
}

/// Kills what a first process that has ended may have left: processes of a shared pid namespace.
pub fn kill_orphans(record: &Record) -> Result<(), DestroyError> {
    kill_left(record, &record.cgroup()?)
}

fn kill_left(record: &Record, cgroup: &Cgroup) -> Result<(), DestroyError> {
    if !record.own_pids {
        kill_all(cgroup)?;
    }
    Ok(())
}

/// [`remove_with`], for whoever has the claim already.
pub fn remove(_: &Claim, folder: &Folder, record: &Record, hooks: &Hooks) -> Result<(), DestroyError> {
    let cgroup = record.cgroup()?;
    kill_left(record, &cgroup)?;
    fail_point::reach("delete.killed");
    match record.own_pids {
        true => cgroup.destroy()?,
        false => remove_emptied(&cgroup)?,
    }
    fail_point::reach("delete.cgroup-removed");
    if let Some(id) = record.root_mount {
        host_mount::remove(&record.rootfs, id)?;
    }
    if let Some(membership) = &record.intel_rdt {
        membership.remove()?;
    }
    folder.remove()?;
    fail_point::reach("delete.folder-removed");
    run_poststop(record, hooks);
    Ok(())
}

/// Removes what a creation that was killed has left: a folder without a record, and perhaps a cgroup with processes.
pub fn remove_remains(_: &Claim, folder: &Folder) -> Result<(), DestroyError> {
    let Some(plan) = folder.plan() else {
        return Ok(folder.remove()?);
    };
    let record = plan.record;
    let cgroup = record.cgroup()?;
    if is_anothers(folder, &record)? {
        log::warn("another container is in the cgroup by now: it is left alone");
    } else if plan.cgroup_is_made {
        empty_and_remove(&cgroup)?;
    } else if let Err(err) = cgroup.destroy() {
        // Made or not, nobody of ours is in it; and with somebody in it it is not ours.
        log::warn(&err.to_string());
    }
    if let Some(id) = record.root_mount {
        host_mount::remove(&record.rootfs, id)?;
    }
    if let Some(membership) = &record.intel_rdt {
        membership.remove()?;
    }
    let hooks = folder.config().map(|config| config.hooks).unwrap_or_default();
    folder.remove()?;
    run_poststop(&record, &hooks);
    Ok(())
}

/// Kills whoever makes a container and does not come to an end, and what is there of it.
pub fn end_making(folder: &Folder) -> Result<(), DestroyError> {
    let Some(plan) = folder.plan() else {
        return Ok(());
    };
    if let Some(key) = plan.maker
        && let Some(maker) = key.open().attempt("open", "maker of container")?
    {
        log::warn(&format!(
            "process {} makes the container and does not come to an end: it is killed",
            key.pid
        ));
        send_kill(&maker, "maker of container")?;
    }
    // One of its children may hold the claim as well, until it runs and sees that its maker is gone.
    let cgroup = plan.record.cgroup()?;
    if plan.cgroup_is_made && !is_anothers(folder, &plan.record)? {
        kill_all(&cgroup)?;
    }
    Ok(())
}

/// Whether a container that lives has this cgroup, too: an empty one, such as a killed creation leaves, may be taken again.
fn is_anothers(folder: &Folder, record: &Record) -> Result<bool, DestroyError> {
    for (_, found) in folder.store().list()? {
        // Of one that cannot be read no process is known.
        let Ok((other, theirs)) = found else { continue };
        let mut paths = theirs.cgroup_paths.iter();
        let is_same = paths.any(|(controller, path)| record.cgroup_paths.get(controller) == Some(path));
        if is_same && other.path() != folder.path() && theirs.init.open().attempt("open", "container init")?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Kills whoever is in a cgroup that is the container's, and removes it.
pub(super) fn empty_and_remove(cgroup: &Cgroup) -> Result<(), CgroupError> {
    kill_all(cgroup)?;
    remove_emptied(cgroup)
}

fn kill_all(cgroup: &Cgroup) -> Result<(), CgroupError> {
    match cgroup.exists() {
        true => cgroup.kill_all(Signal::KILL.as_raw()),
        false => Ok(()),
    }
}

/// Removes a cgroup whose processes have been killed. One may take its time to die; and a first process without a
/// runtime, which ends by itself, may just be on its way in.
fn remove_emptied(cgroup: &Cgroup) -> Result<(), CgroupError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let removed = cgroup.destroy();
        if removed.is_ok() || Instant::now() > end {
            return removed;
        }
        sleep(PAUSE);
        // Whoever cannot be killed keeps the cgroup, too.
        let _ = kill_all(cgroup);
    }
}

/// Runs the poststop hooks. A failing one is a warning: the container is gone whatever it says.
pub fn run_poststop(record: &Record, hooks: &Hooks) {
    if hooks.poststop.is_empty() {
        return;
    }
    let state = match state::for_hook(record, 0, "stopped") {
        Ok(state) => state,
        Err(err) => return log::warn(&err.to_string()),
    };
    if let Err(err) = hooks::run("poststop", &hooks.poststop, &state) {
        log::warn(&err.to_string());
    }
}

/// Kills a container's first process, a child of ours, and takes its exit status. On v1 one that is frozen in its `cgroup`
/// dies only when that is thawed; one that does not die is left.
pub fn kill_init(pidfd: &OwnedFd, cgroup: Option<&Cgroup>) {
    let _ = send_kill(pidfd, "container init");
    let end = Instant::now() + PATIENCE;
    loop {
        // Again and again: it may be frozen anew.
        let _ = cgroup.filter(|cgroup| cgroup.exists()).map(Cgroup::kill_frozen);
        if gone_within(pidfd, LOOK).unwrap_or(true) || Instant::now() > end {
            break;
        }
    }
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), options);
}

/// Kills a child of ours and takes its exit status.
pub fn kill_child(pidfd: &OwnedFd) {
    let _ = davit_sys::signals::send(pidfd.as_fd(), Signal::KILL.as_raw());
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

/// `whom`: in the words of the error.
fn send_kill(pidfd: &OwnedFd, whom: &str) -> Result<(), CallError> {
    match davit_sys::signals::send(pidfd.as_fd(), Signal::KILL.as_raw()) {
        Err(err) if err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(()),
        result => result.attempt("kill", whom),
    }
}

fn gone_within(pidfd: &OwnedFd, limit: Duration) -> Result<bool, CallError> {
    is_readable_within(pidfd.as_fd(), limit).attempt("wait for", "container init")
}
