//! memory: v2 limits swap by itself, where the specification limits memory and swap together.

use std::path::Path;

use oci_spec::runtime::{LinuxMemory, LinuxResources};
use rustix::io::Errno;

use crate::{CgroupError, Result, control_file};

pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    resources.memory().as_ref().map_or(Ok(None), swap).map(drop)
}

/// Swappiness and the limits of kernel memory are passed over, as by runc: engines send them to any machine.
pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(memory) = resources.memory() else {
        return Ok(());
    };
    check_before_update(dir, resources)?;
    if let Some(swap) = swap(memory)? {
        match control_file::write(dir, "memory.swap.max", &limit(swap)) {
            // Where there is no swap, all of it and none of it are the same.
            Err(err) if err.is(Errno::NOENT) && swap <= 0 => {}
            result => result?,
        }
    }
    if let Some(bytes) = memory.limit().filter(|bytes| *bytes != 0) {
        control_file::write(dir, "memory.max", &limit(bytes))?;
    }
    if let Some(bytes) = memory.reservation().filter(|bytes| *bytes != 0) {
        control_file::write(dir, "memory.low", &limit(bytes))?;
    }
    Ok(())
}

/// Refuses limits below what is in use, where `checkBeforeUpdate` asks for that.
pub(super) fn check_before_update(dir: &Path, resources: &LinuxResources) -> Result<()> {
    match resources.memory() {
        Some(memory) if memory.check_before_update() == Some(true) => check_usage(dir, memory),
        _ => Ok(()),
    }
}

fn limit(bytes: i64) -> String {
    if bytes < 0 { "max".into() } else { bytes.to_string() }
}

/// The limit of swap alone: `Some(-1)` lifts it, `None` leaves it as it is.
pub(crate) fn swap(memory: &LinuxMemory) -> Result<Option<i64>> {
    let invalid = |text: &str| Err(CgroupError::InvalidLimit(text.into()));
    match (memory.limit().unwrap_or_default(), memory.swap().unwrap_or_default()) {
        // Unlimited memory with nothing said about swap means that both are to be unlimited, as on v1.
        (-1, 0) | (_, -1) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (-1, both) => Ok(Some(both)),
        (0, _) => invalid("unable to set swap limit without memory limit"),
        (limit, _) if limit < 0 => invalid(&format!("invalid memory value: {limit}")),
        (limit, both) if both < limit => invalid("memory+swap limit should be >= memory limit"),
        (limit, both) => Ok(Some(both - limit)),
    }
}

/// By both limits as they are given, the sum first, as runc does: it asks whether all that is in use would fit.
fn check_usage(dir: &Path, memory: &LinuxMemory) -> Result<()> {
    // The cgroup of a unit may not be there yet.
    let Some(usage) = control_file::read_number_if_exists(dir, "memory.current")? else {
        return Ok(());
    };
    for (limit, what) in [(memory.swap(), "memory+swap"), (memory.limit(), "memory")] {
        let limit = limit
            .and_then(|limit| u64::try_from(limit).ok())
            .filter(|limit| *limit > 0);
        if let Some(limit) = limit.filter(|limit| *limit <= usage) {
            return Err(CgroupError::InvalidLimit(format!(
                "rejecting {what} limit {limit} <= usage {usage}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxMemoryBuilder;

    use super::*;

    fn check(limit: i64, both: i64, expected: Option<Option<i64>>) {
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(both).build().unwrap();
        assert_eq!(swap(&memory).ok(), expected, "memory {limit}, memory and swap {both}");
    }

    #[test]
    fn swap_is_what_is_left_when_memory_is_taken_off() {
        check(100, 300, Some(Some(200)));
        check(100, 100, Some(Some(0)));
        check(100, 0, Some(None));
        check(100, -1, Some(Some(-1)));
        check(0, 0, Some(None));
    }

    #[test]
    fn unlimited_memory_lifts_swap_unless_that_is_limited() {
        check(-1, 0, Some(Some(-1)));
        check(-1, 500, Some(Some(500)));
    }

    #[test]
    fn a_sum_below_its_part_is_refused() {
        check(300, 100, None);
        check(0, 100, None);
        check(-2, 100, None);
    }
}
