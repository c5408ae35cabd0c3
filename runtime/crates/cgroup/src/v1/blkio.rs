//! blkio: weights, which the bfq scheduler has under names of its own, and throttles.

use std::path::Path;

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, LinuxThrottleDevice};

use super::Need;
use crate::{Result, control_file};

pub(super) fn needs(resources: &LinuxResources) -> Option<Need> {
    let io = resources.block_io().as_ref()?;
    let some_weight = [io.weight(), io.leaf_weight()]
        .into_iter()
        .flatten()
        .any(|weight| weight != 0);
    let some_device = io.weight_device().as_ref().is_some_and(|devices| !devices.is_empty());
    let some_throttle = throttles(io).into_iter().any(|(_, devices)| !devices.is_empty());
    (some_weight || some_device || some_throttle).then_some(("blkio", "blockIO"))
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    // Engines send an empty one to every container; do not ask for the scheduler then.
    let Some(io) = resources.block_io().as_ref().filter(|_| needs(resources).is_some()) else {
        return Ok(());
    };
    let (weight, weight_device) = match control_file::exists(dir, "blkio.weight") {
        true => ("blkio.weight", "blkio.weight_device"),
        false => ("blkio.bfq.weight", "blkio.bfq.weight_device"),
    };
    write_weight(dir, weight, io.weight())?;
    write_weight(dir, "blkio.leaf_weight", io.leaf_weight())?;
    for device in io.weight_device().iter().flatten() {
        let node = format!("{}:{}", device.major(), device.minor());
        for (name, weight) in [
            (weight_device, device.weight()),
            ("blkio.leaf_weight_device", device.leaf_weight()),
        ] {
            if let Some(weight) = weight.filter(|weight| *weight != 0) {
                control_file::write(dir, name, &format!("{node} {weight}"))?;
            }
        }
    }
    for (name, devices) in throttles(io) {
        for device in devices {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            control_file::write(dir, &format!("blkio.throttle.{name}_device"), &line)?;
        }
    }
    Ok(())
}

fn write_weight(dir: &Path, name: &str, weight: Option<u16>) -> Result<()> {
    match weight.filter(|weight| *weight != 0) {
        Some(weight) => control_file::write(dir, name, &weight.to_string()),
        None => Ok(()),
    }
}

fn throttles(io: &LinuxBlockIo) -> [(&'static str, &[LinuxThrottleDevice]); 4] {
    [
        ("read_bps", io.throttle_read_bps_device().as_deref().unwrap_or_default()),
        (
            "write_bps",
            io.throttle_write_bps_device().as_deref().unwrap_or_default(),
        ),
        (
            "read_iops",
            io.throttle_read_iops_device().as_deref().unwrap_or_default(),
        ),
        (
            "write_iops",
            io.throttle_write_iops_device().as_deref().unwrap_or_default(),
        ),
    ]
}
