//! io: weights and throttles.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

use crate::{Result, control_file};

const BFQ_WEIGHT: &str = "io.bfq.weight";

/// Leaf weights do not exist on v2 and are passed over, as by runc.
pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(io) = resources.block_io() else { return Ok(()) };
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        match control_file::exists(dir, BFQ_WEIGHT) {
            true => control_file::write(dir, BFQ_WEIGHT, &weight.to_string())?,
            false => control_file::write(dir, "io.weight", &format!("default {}", converted(weight.into())))?,
        }
    }
    for device in io.weight_device().iter().flatten() {
        let Some(weight) = device.weight().filter(|weight| *weight != 0) else {
            continue;
        };
        let (file, weight) = match control_file::exists(dir, BFQ_WEIGHT) {
            true => (BFQ_WEIGHT, weight.into()),
            false => ("io.weight", converted(weight.into())),
        };
        control_file::write(dir, file, &format!("{}:{} {weight}", device.major(), device.minor()))?;
    }
    write_throttles(dir, "rbps", io.throttle_read_bps_device())?;
    write_throttles(dir, "wbps", io.throttle_write_bps_device())?;
    write_throttles(dir, "riops", io.throttle_read_iops_device())?;
    write_throttles(dir, "wiops", io.throttle_write_iops_device())
}

/// Whether anything is asked of the controller.
pub(super) fn is_wanted(io: &LinuxBlockIo) -> bool {
    let throttles = [
        io.throttle_read_bps_device(),
        io.throttle_write_bps_device(),
        io.throttle_read_iops_device(),
        io.throttle_write_iops_device(),
    ];
    io.weight().is_some_and(|weight| weight != 0)
        || io.weight_device().as_ref().is_some_and(|devices| !devices.is_empty())
        || throttles.into_iter().flatten().any(|devices| !devices.is_empty())
}

fn write_throttles(dir: &Path, key: &str, devices: &Option<Vec<LinuxThrottleDevice>>) -> Result<()> {
    for device in devices.iter().flatten() {
        // A rate of nothing is how v1 lifts a throttle.
        let rate = if device.rate() == 0 {
            "max".to_owned()
        } else {
            device.rate().to_string()
        };
        control_file::write(
            dir,
            "io.max",
            &format!("{}:{} {key}={rate}", device.major(), device.minor()),
        )?;
    }
    Ok(())
}

/// A blkio weight (10 to 1000) as an io weight (1 to 10000), on the line through the ends.
pub(crate) fn converted(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_converted_but_for_bfq_and_no_rate_is_the_highest() {
        let io = r#"{"blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}}"#;
        for (file, weight) in [("io.weight", "default 4950"), (BFQ_WEIGHT, "500")] {
            let dir = tempfile::tempdir().unwrap();
            for file in [file, "io.max"] {
                std::fs::write(dir.path().join(file), "").unwrap();
            }
            apply(dir.path(), &serde_json::from_str(io).unwrap()).unwrap();
            let text = |file| std::fs::read_to_string(dir.path().join(file)).unwrap();
            assert_eq!((text(file).as_str(), text("io.max").as_str()), (weight, "8:0 rbps=max"));
        }
    }

    #[test]
    fn weights_keep_their_ends() {
        assert_eq!(converted(10), 1);
        assert_eq!(converted(1000), 10_000);
        assert_eq!(converted(500), 4950);
    }
}
