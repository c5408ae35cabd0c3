//! On which CPUs a process runs.
//!
//! The cgroup's cpuset is the outer bound, and the kernel cuts every mask to it. Since Linux 6.2 it no longer widens the
//! mask of a process that joins, so the runtime's own confinement is lifted by hand.

use std::io;

use davit_spec::CpuAffinity;
use davit_sys::clone::Fork;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::errno::{Attempt, CallError};

/// Lets the process run on every CPU of its cgroup, whatever the runtime itself was confined to.
pub fn all() {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    // Confined by something else than its cgroup: then it stays so.
    let _ = sched_setaffinity(None, &all);
}

/// Runs `fork` confined to the initial CPUs, so that the child begins there; the parent is as free as before after it.
pub fn with_initial(
    affinity: Option<&CpuAffinity>,
    fork: impl FnOnce() -> io::Result<Fork>,
) -> Result<io::Result<Fork>, CallError> {
    let Some(affinity) = affinity.filter(|affinity| !affinity.initial.is_empty()) else {
        return Ok(fork());
    };
    let own = sched_getaffinity(None).attempt("get", "CPU affinity")?;
    confine(&affinity.initial, "set initial CPU affinity to")?;
    let forked = fork();
    if !matches!(forked, Ok(Fork::Child)) {
        sched_setaffinity(None, &own).attempt("restore", "CPU affinity")?;
    }
    Ok(forked)
}

/// To be called by a process of `exec` once it is in its cgroup.
pub fn finish(affinity: Option<&CpuAffinity>) -> Result<(), CallError> {
    match affinity {
        Some(affinity) if !affinity.last.is_empty() => confine(&affinity.last, "set final CPU affinity to"),
        Some(affinity) if !affinity.initial.is_empty() => Ok(()),
        _ => {
            all();
            Ok(())
        }
    }
}

fn confine(cpus: &[u32], action: &'static str) -> Result<(), CallError> {
    let mut mask = CpuSet::new();
    cpus.iter().for_each(|cpu| mask.set(*cpu as usize));
    sched_setaffinity(None, &mask).attempt(action, format_args!("{cpus:?}"))
}
