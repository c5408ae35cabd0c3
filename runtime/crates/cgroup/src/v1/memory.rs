//! memory: the limits of memory and of memory and swap together, which the kernel keeps in order.

use std::path::Path;

use oci_spec::runtime::{LinuxMemory, LinuxResources};
use rustix::io::Errno;

use super::Need;
use crate::{CgroupError, Result, control_file};

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP_LIMIT: &str = "memory.memsw.limit_in_bytes";
pub(crate) const OOM_CONTROL: &str = "memory.oom_control";

pub(super) fn needs(resources: &LinuxResources) -> Vec<Need> {
    let Some(memory) = resources.memory() else {
        return Vec::new();
    };
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let limits = [
        (set(memory.limit()), "memory.limit"),
        (set(memory.swap()), "memory.swap"),
        (set(memory.reservation()), "memory.reservation"),
        (memory.disable_oom_killer() == Some(true), "memory.disableOOMKiller"),
        (swappiness(memory).is_some(), "memory.swappiness"),
    ];
    limits
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, limit)| ("memory", limit))
        .collect()
}

/// The limits of kernel memory are passed over: no kernel this runtime supports has them.
pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    write_limits(dir, memory)?;
    if let Some(reservation) = memory.reservation().filter(|bytes| *bytes != 0) {
        control_file::write(dir, "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    match memory.disable_oom_killer() {
        Some(true) => control_file::write(dir, OOM_CONTROL, "1")?,
        // Engines say this of every container.
        Some(false) if is_oom_killer_off(dir)? => control_file::write(dir, OOM_CONTROL, "0")?,
        _ => {}
    }
    if let Some(swappiness) = swappiness(memory) {
        if swappiness > 100 {
            let text = format!("invalid memory swappiness value: {swappiness} (valid range is 0-100)");
            return Err(CgroupError::InvalidLimit(text));
        }
        control_file::write(dir, "memory.swappiness", &swappiness.to_string())?;
    }
    Ok(())
}

fn is_oom_killer_off(dir: &Path) -> Result<bool> {
    let text = control_file::read_if_exists(dir, OOM_CONTROL)?.unwrap_or_default();
    Ok(control_file::value_of(&text, "oom_kill_disable") == Some(1))
}

/// -1, which some engines write for "the system's", arrives as the highest number.
fn swappiness(memory: &LinuxMemory) -> Option<u64> {
    memory.swappiness().filter(|value| *value != u64::MAX)
}

/// Refuses limits below what is in use, where `checkBeforeUpdate` asks for that.
pub(super) fn check_before_update(dir: &Path, resources: &LinuxResources) -> Result<()> {
    match resources.memory() {
        Some(memory) if memory.check_before_update() == Some(true) => check_usage(
            dir,
            memory.limit().filter(|bytes| *bytes != 0),
            memory.swap().filter(|bytes| *bytes != 0),
        ),
        _ => Ok(()),
    }
}

/// The limit of both together may never be below that of memory alone, not even between two writes.
fn write_limits(dir: &Path, memory: &LinuxMemory) -> Result<()> {
    let limit = memory.limit().filter(|bytes| *bytes != 0);
    let mut swap = memory.swap().filter(|bytes| *bytes != 0);
    // Without a limit of memory one of both makes no sense; it is lifted where the kernel counts swap.
    if limit == Some(-1) && swap.is_none() && control_file::exists(dir, SWAP_LIMIT) {
        swap = Some(-1);
    }
    if memory.check_before_update() == Some(true) {
        check_usage(dir, limit, swap)?;
    }
    let growing = match (limit, swap) {
        (Some(_), Some(-1)) => true,
        (Some(_), Some(swap)) => control_file::read_number(dir, LIMIT)? < swap as u64,
        _ => false,
    };
    if growing {
        write_swap(dir, swap)?;
        return write_limit(dir, limit);
    }
    write_limit(dir, limit)?;
    write_swap(dir, swap)
}

fn write_limit(dir: &Path, limit: Option<i64>) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    match control_file::write(dir, LIMIT, &limit.to_string()) {
        // The new limit is below what is in use and could not be reclaimed.
        Err(err) if err.is(Errno::BUSY) => Err(CgroupError::MemoryInUse {
            limit,
            usage: control_file::read_number(dir, "memory.usage_in_bytes")?,
            peak: control_file::read_number(dir, "memory.max_usage_in_bytes")?,
        }),
        result => result,
    }
}

fn write_swap(dir: &Path, swap: Option<i64>) -> Result<()> {
    swap.map_or(Ok(()), |swap| control_file::write(dir, SWAP_LIMIT, &swap.to_string()))
}

fn check_usage(dir: &Path, limit: Option<i64>, swap: Option<i64>) -> Result<()> {
    for (limit, file, what) in [
        (limit, "memory.usage_in_bytes", "memory"),
        (swap, "memory.memsw.usage_in_bytes", "memory+swap"),
    ] {
        let Some(limit) = limit.and_then(|limit| u64::try_from(limit).ok()) else {
            continue;
        };
        let usage = control_file::read_number_if_exists(dir, file)?.unwrap_or_default();
        if limit <= usage {
            return Err(CgroupError::InvalidLimit(format!(
                "rejecting {what} limit {limit} <= usage {usage}"
            )));
        }
    }
    Ok(())
}
