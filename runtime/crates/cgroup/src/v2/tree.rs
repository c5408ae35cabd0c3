//! Making a v2 directory: the controllers are handed down level by level, from the root.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;

use super::io;
use crate::{CgroupError, Result, control_file, v1::make_one};

/// Makes `dir` with every controller of the machine enabled; whether it is new.
pub(super) fn create(mount_point: &Path, dir: &Path, resources: &LinuxResources) -> Result<bool> {
    let mut made = Vec::new();
    let result = descend(mount_point, dir, resources, &mut made);
    if result.is_err() {
        for dir in made.iter().rev() {
            let _ = fs::remove_dir(dir);
        }
    }
    result.map(|()| made.iter().any(|new| new == dir))
}

fn descend(mount_point: &Path, dir: &Path, resources: &LinuxResources, made: &mut Vec<PathBuf>) -> Result<()> {
    let mut current = mount_point.to_owned();
    let below = dir.strip_prefix(mount_point).unwrap_or(dir);
    for part in below {
        hand_down(&current)?;
        current.push(part);
        match make_one(&current) {
            Ok(()) => made.push(current.clone()),
            Err(err) if err.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(CgroupError::Create { path: current, source }),
        }
        check_mode(&current, resources)?;
    }
    Ok(())
}

/// Enables for the children of `dir` what `dir` itself has.
///
/// What cannot be enabled is no error here: the limit that needs it will say so.
fn hand_down(dir: &Path) -> Result<()> {
    let available = control_file::read(dir, "cgroup.controllers")?;
    let enabled = control_file::read(dir, "cgroup.subtree_control")?;
    let missing: Vec<String> = available
        .split_ascii_whitespace()
        .filter(|name| !enabled.split_ascii_whitespace().any(|known| known == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || control_file::write(dir, "cgroup.subtree_control", &missing.join(" ")).is_ok() {
        return Ok(());
    }
    // All or nothing was nothing: one of them is refused (cpu while a real-time task runs, say), the rest may do.
    for name in missing {
        let _ = control_file::write(dir, "cgroup.subtree_control", &name);
    }
    Ok(())
}

/// A cgroup below one with processes is invalid, and one among threads cannot have domain controllers.
fn check_mode(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let mode = control_file::read_if_exists(dir, "cgroup.type")?.unwrap_or_default();
    match mode.as_str() {
        "domain" | "" => Ok(()),
        _ if needs_domain(resources) => Err(CgroupError::Threaded { path: dir.into(), mode }),
        // Thread-aware controllers work in a threaded cgroup, and nothing else was asked for.
        "domain invalid" => {
            let _ = control_file::write(dir, "cgroup.type", "threaded");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a limit is wanted that only exists in domains: memory, io and hugetlb, but not cpu, cpuset and pids.
pub(super) fn needs_domain(resources: &LinuxResources) -> bool {
    let memory = resources.memory().as_ref().is_some_and(|memory| {
        [memory.limit(), memory.swap(), memory.reservation()]
            .into_iter()
            .flatten()
            .any(|bytes| bytes != 0)
    });
    let io = resources.block_io().as_ref().is_some_and(io::is_wanted);
    let hugepages = resources
        .hugepage_limits()
        .as_ref()
        .is_some_and(|limits| !limits.is_empty());
    memory || io || hugepages
}
