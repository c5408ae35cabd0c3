//! cpu: weight, quota, burst and idle.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use crate::{Result, control_file};

const DEFAULT_PERIOD: u64 = 100_000;

/// Whether anything is asked of the controller.
pub(super) fn needs(resources: &LinuxResources) -> bool {
    resources.cpu().as_ref().is_some_and(|cpu| {
        let numbers = [cpu.shares(), cpu.period(), cpu.burst()];
        numbers.into_iter().flatten().any(|number| number != 0)
            || cpu.quota().is_some_and(|quota| quota != 0)
            || cpu.idle().is_some()
    })
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(cpu) = resources.cpu() else { return Ok(()) };
    if let Some(idle) = cpu.idle() {
        control_file::write(dir, "cpu.idle", &idle.to_string())?;
    }
    // An idle cgroup has no weight to set.
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0 && cpu.idle() != Some(1)) {
        control_file::write(dir, "cpu.weight", &weight(shares).to_string())?;
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let limited = quota.is_some() || period.is_some();
    // A burst larger than the old quota must wait for the new one, a smaller one may have to come before it.
    let early = cpu.burst().map_or(Ok(()), |burst| write_burst(dir, burst));
    if limited {
        control_file::write(dir, "cpu.max", &bandwidth(quota, period))?;
    }
    match (early, cpu.burst()) {
        (Err(err), Some(burst)) if err.is(Errno::INVAL) && limited => write_burst(dir, burst),
        (result, _) => result,
    }
}

fn write_burst(dir: &Path, burst: u64) -> Result<()> {
    match control_file::write(dir, "cpu.max.burst", &burst.to_string()) {
        // Kernels before 5.14 have no burst.
        Err(err) if burst == 0 && err.is(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn bandwidth(quota: Option<i64>, period: Option<u64>) -> String {
    let quota = quota
        .filter(|quota| *quota > 0)
        .map_or("max".to_owned(), |quota| quota.to_string());
    format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD))
}

/// v1 shares (2 to 262144, 1024 by default) as a v2 weight (1 to 10000, 100 by default).
///
/// The line through the ends alone would make the default 39. A quadratic curve over the logarithm goes through all
/// three, and is what the other runtimes use since 2025.
pub(crate) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_through_three_fixed_points() {
        for (shares, expected) in [
            (2, 1),
            (1024, 100),
            (262_144, 10_000),
            (3, 2),
            (512, 59),
            (2048, 174),
            (1, 1),
        ] {
            assert_eq!(weight(shares), expected, "{shares} shares");
        }
    }

    #[test]
    fn more_shares_never_weigh_less() {
        let mut last = 0;
        for shares in (0..300_000).step_by(7) {
            let now = weight(shares);
            assert!(
                now >= last && (1..=10_000).contains(&now),
                "{shares} shares weigh {now}"
            );
            last = now;
        }
    }

    #[test]
    fn a_quota_without_a_period_has_the_default_one() {
        assert_eq!(bandwidth(Some(5000), None), "5000 100000");
        assert_eq!(bandwidth(Some(-1), Some(50_000)), "max 50000");
        assert_eq!(bandwidth(None, Some(50_000)), "max 50000");
    }
}
