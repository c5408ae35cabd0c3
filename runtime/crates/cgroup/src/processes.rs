//! The processes of a cgroup and its children.

use std::{collections::BTreeSet, io, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{CgroupError, Result, control_file, walk};

/// The processes in `dir` and below; none when the cgroup is gone.
pub(crate) fn in_tree(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = BTreeSet::new();
    let collect = |cgroup: BorrowedFd<'_>| {
        let text = match control_file::read_at(cgroup, "cgroup.procs") {
            // Removed between the listing and now; or a threaded cgroup, whose processes its domain lists.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => String::new(),
            result => result?,
        };
        // 0 stands for a process of a pid namespace that we cannot see.
        pids.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid > 0),
        );
        Ok(())
    };
    walk::visit(dir, collect).map_err(|err| CgroupError::Read {
        path: dir.into(),
        source: err.into(),
    })?;
    Ok(pids.into_iter().collect())
}

/// Sends `signal` to every process in `dir` and below. One that is gone already is no error.
pub(crate) fn signal_tree(dir: &Path, signal: i32) -> Result<()> {
    for pid in in_tree(dir)? {
        match send(pid, signal) {
            Err(err) if err.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                return Err(CgroupError::Kill {
                    pid,
                    signal,
                    source: err,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

fn send(pid: i32, signal: i32) -> io::Result<()> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    davit_sys::signals::send(process.as_fd(), signal)
}
