//! The processes of a cgroup and its children, and directories that come and go with them.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal},
};

use crate::{CgroupError, Result, control_file};

/// The processes in `dir` and below; none when the cgroup is gone.
pub(crate) fn in_tree(dir: &Path) -> Result<Vec<i32>> {
    let mut pids = BTreeSet::new();
    visit(dir, &mut |dir| {
        let text = match control_file::read_if_exists(dir, "cgroup.procs") {
            Ok(text) => text.unwrap_or_default(),
            // Removed between the listing and now.
            Err(err) if err.is(Errno::NODEV) => String::new(),
            // A threaded v2 cgroup does not list processes; they are listed by the domain above it.
            Err(err) if err.is(Errno::OPNOTSUPP) => String::new(),
            Err(err) => return Err(err),
        };
        // 0 stands for a process of a pid namespace that we cannot see.
        pids.extend(
            text.lines()
                .filter_map(|line| line.parse::<i32>().ok())
                .filter(|pid| *pid > 0),
        );
        Ok(())
    })?;
    Ok(pids.into_iter().collect())
}

/// Sends `signal` to every process in `dir` and below. One that is gone already is no error.
pub(crate) fn signal_tree(dir: &Path, signal: i32) -> Result<()> {
    let number = signal;
    let signal = Signal::from_named_raw(number)
        .ok_or_else(|| CgroupError::InvalidLimit(format!("{number} is not the number of a signal")))?;
    for pid in in_tree(dir)? {
        let Some(target) = Pid::from_raw(pid) else { continue };
        match rustix::process::kill_process(target, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(err) => {
                return Err(CgroupError::Kill {
                    pid,
                    signal: number,
                    source: err.into(),
                });
            }
        }
    }
    Ok(())
}

/// Removes `dir` and what is below it, leaves first.
///
/// A cgroup stays busy for a moment after its last process was reaped, so EBUSY is tried again, longer each time.
pub(crate) fn remove_tree(dir: &Path) -> Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        // The usual case is one empty directory, and costs one call.
        let result = match fs::remove_dir(dir) {
            Err(err) if is_busy(&err) => remove_children(dir).and_then(|()| fs::remove_dir(dir)),
            result => result,
        };
        match result {
            Ok(()) => return Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) if is_busy(&err) && pause < Duration::from_millis(300) => {
                sleep(pause);
                pause *= 2;
            }
            Err(source) => {
                return Err(CgroupError::Remove {
                    path: dir.into(),
                    source,
                });
            }
        }
    }
}

fn remove_children(dir: &Path) -> io::Result<()> {
    for child in children(dir)? {
        remove_children(&child)?;
        match fs::remove_dir(&child) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

fn is_busy(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty
    )
}

fn visit(dir: &Path, each: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    each(dir)?;
    let children = children(dir).map_err(|source| CgroupError::Read {
        path: dir.into(),
        source,
    })?;
    children.iter().try_for_each(|child| visit(child, each))
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut children = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            children.push(entry.path());
        }
    }
    Ok(children)
}
