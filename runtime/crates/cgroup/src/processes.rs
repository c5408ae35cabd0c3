//! The processes of a cgroup and its children.

use std::{collections::BTreeSet, fs, os::fd::OwnedFd, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{CgroupError, Result, control_file, walk};

/// How many processes are held open at once: more than one, for each time the list is read again, and fewer than there
/// may be open files.
const AT_ONCE: usize = 128;

/// The processes in `dir` and below; none when the cgroup is gone.
pub(crate) fn in_tree(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = BTreeSet::new();
    let collect = |cgroup: BorrowedFd<'_>| {
        pids.extend(of_one(cgroup)?);
        Ok(())
    };
    walk::visit(dir, collect).map_err(|err| CgroupError::Read {
        path: dir.into(),
        source: err.into(),
    })?;
    Ok(pids.into_iter().collect())
}

fn of_one(cgroup: BorrowedFd<'_>) -> std::result::Result<Vec<i32>, Errno> {
    match control_file::read_at(cgroup, "cgroup.procs") {
        // Removed between the listing and now.
        Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
        // A threaded cgroup has threads, which may be those of processes elsewhere.
        Err(Errno::OPNOTSUPP) => {
            let threads = control_file::read_at(cgroup, "cgroup.threads")?;
            Ok(numbers(&threads).filter_map(process_of).collect())
        }
        processes => Ok(numbers(&processes?).collect()),
    }
}

/// 0 stands for a process of a pid namespace that we cannot see.
fn numbers(list: &str) -> impl Iterator<Item = i32> {
    list.lines()
        .filter_map(|line| line.parse().ok())
        .filter(|number| *number > 0)
}

fn process_of(thread: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))?
        .trim()
        .parse()
        .ok()
}

/// Sends `signal` to every process in `dir` and below. One that is gone already is no error.
pub(crate) fn signal_tree(dir: &Path, signal: i32) -> Result<()> {
    in_tree(dir)?
        .chunks(AT_ONCE)
        .try_for_each(|listed| signal_listed(dir, listed, signal))
}

/// A number can have passed to a process of somebody else since it was listed. So a process is held first, and signalled
/// where its number is still in the list then.
fn signal_listed(dir: &Path, listed: &[i32], signal: i32) -> Result<()> {
    let failed = |pid, source| CgroupError::Kill { pid, signal, source };
    let mut held = Vec::new();
    for pid in listed {
        match hold(*pid) {
            Err(Errno::SRCH) => {}
            process => held.push((*pid, process.map_err(|err| failed(*pid, err.into()))?)),
        }
    }
    let still: BTreeSet<i32> = in_tree(dir)?.into_iter().collect();
    for (pid, process) in held.iter().filter(|(pid, _)| still.contains(pid)) {
        match davit_sys::signals::send(process.as_fd(), signal) {
            Err(err) if err.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => return Err(failed(*pid, err)),
            _ => {}
        }
    }
    Ok(())
}

fn hold(pid: i32) -> std::result::Result<OwnedFd, Errno> {
    pidfd_open(Pid::from_raw(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())
}

#[cfg(test)]
mod tests;
