//! `resources.unified`: files of the cgroup, written as they are given.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use crate::{CgroupError, Result, control_file};

/// A key is one file name of the container's own directory, never a way out of it.
pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    let keys = resources.unified().iter().flatten().map(|(key, _)| key);
    let mut bad = keys.filter(|key| key.contains('/') || matches!(key.as_str(), "" | "." | ".."));
    bad.next()
        .map_or(Ok(()), |key| Err(CgroupError::UnifiedKey(key.clone())))
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    // In one order, whatever the map's: memory.high before memory.max, and the same error every time.
    let mut entries: Vec<_> = resources.unified().iter().flatten().collect();
    entries.sort();
    for (key, value) in entries {
        // The kernel takes one line with a write, and a file such as io.max has one for each device.
        for line in value.trim().lines() {
            control_file::write(dir, key, line.trim()).map_err(|err| explain(dir, key, err))?;
        }
    }
    Ok(())
}

fn explain(dir: &Path, key: &str, err: CgroupError) -> CgroupError {
    let controller = key.split('.').next().unwrap_or_default();
    let enabled = control_file::read(dir, "cgroup.controllers").unwrap_or_default();
    let missing = controller != "cgroup" && !enabled.split_ascii_whitespace().any(|name| name == controller);
    match err.is(Errno::NOENT) && missing {
        true => CgroupError::InvalidLimit(format!(
            "unified resource {key:?} can't be set: controller {controller:?} not available"
        )),
        false => err,
    }
}
