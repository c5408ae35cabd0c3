//! cpu: shares, quota and the real-time budget.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::Need;
use crate::{CgroupError, Result, control_file};

pub(super) fn needs(resources: &LinuxResources) -> Vec<Need> {
    let Some(cpu) = resources.cpu() else { return Vec::new() };
    let set = |value: Option<u64>| value.is_some_and(|value| value != 0);
    let signed = |value: Option<i64>| value.is_some_and(|value| value != 0);
    let limits = [
        (set(cpu.shares()), "cpu.shares"),
        (signed(cpu.quota()), "cpu.quota"),
        (set(cpu.period()), "cpu.period"),
        (set(cpu.burst()), "cpu.burst"),
        (signed(cpu.idle()), "cpu.idle"),
        (signed(cpu.realtime_runtime()), "cpu.realtimeRuntime"),
        (set(cpu.realtime_period()), "cpu.realtimePeriod"),
    ];
    limits
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, limit)| ("cpu", limit))
        .collect()
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    if let Some(idle) = cpu.idle() {
        control_file::write(dir, "cpu.idle", &idle.to_string())?;
    }
    // An idle cgroup takes no shares, and one that is idle no more takes them now.
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && cpu.idle() != Some(1)) {
        write_shares(dir, shares)?;
    }
    write_quota(dir, cpu.period(), cpu.quota(), cpu.burst())?;
    apply_realtime(dir, resources)
}

/// The real-time budget; also called before anybody enters.
pub(super) fn apply_realtime(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    let period = cpu.realtime_period().filter(|period| *period != 0);
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    write_coupled(
        dir,
        ("cpu.rt_period_us", period.map(|v| v.to_string())),
        ("cpu.rt_runtime_us", runtime),
    )
}

/// The kernel cuts shares to its own bounds without a word, so they are read back.
fn write_shares(dir: &Path, shares: u64) -> Result<()> {
    control_file::write(dir, "cpu.shares", &shares.to_string())?;
    let kept = control_file::read_number(dir, "cpu.shares")?;
    match shares {
        _ if shares > kept => Err(CgroupError::InvalidLimit(format!(
            "the maximum allowed cpu-shares is {kept}"
        ))),
        _ if shares < kept => Err(CgroupError::InvalidLimit(format!(
            "the minimum allowed cpu-shares is {kept}"
        ))),
        _ => Ok(()),
    }
}

fn write_quota(dir: &Path, period: Option<u64>, quota: Option<i64>, burst: Option<u64>) -> Result<()> {
    let period = period.filter(|period| *period != 0).map(|period| period.to_string());
    let quota = quota.filter(|quota| *quota != 0);
    // A burst larger than the old quota must wait for the new one, a smaller one may have to come before it.
    let early = burst.map_or(Ok(()), |burst| write_burst(dir, burst));
    write_coupled(dir, ("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota))?;
    match (early, burst) {
        (Err(err), Some(burst)) if err.is(Errno::INVAL) && quota.is_some() => write_burst(dir, burst),
        (result, _) => result,
    }
}

fn write_burst(dir: &Path, burst: u64) -> Result<()> {
    match control_file::write(dir, "cpu.cfs_burst_us", &burst.to_string()) {
        // Kernels before 5.14 have no burst.
        Err(err) if burst == 0 && err.is(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// Writes a period and a share of it. A period that does not fit the old share is refused, and tried again after it.
fn write_coupled(dir: &Path, period: (&str, Option<String>), share: (&str, Option<i64>)) -> Result<()> {
    let mut late = None;
    if let Some(value) = period.1 {
        match control_file::write(dir, period.0, &value) {
            Err(err) if err.is(Errno::INVAL) && share.1.is_some() => late = Some(value),
            result => result?,
        }
    }
    if let Some(value) = share.1 {
        control_file::write(dir, share.0, &value.to_string())?;
    }
    late.map_or(Ok(()), |value| control_file::write(dir, period.0, &value))
}
