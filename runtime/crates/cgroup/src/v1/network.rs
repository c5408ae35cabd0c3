//! net_cls and net_prio: marks for the host's packet filters.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::Need;
use crate::{Result, control_file};

pub(super) fn needs(resources: &LinuxResources) -> Vec<Need> {
    let Some(network) = resources.network() else {
        return Vec::new();
    };
    let class = network
        .class_id()
        .is_some_and(|id| id != 0)
        .then_some(("net_cls", "network.classID"));
    let some = network
        .priorities()
        .as_ref()
        .is_some_and(|priorities| !priorities.is_empty());
    class
        .into_iter()
        .chain(some.then_some(("net_prio", "network.priorities")))
        .collect()
}

pub(super) fn apply_class(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let id = resources
        .network()
        .as_ref()
        .and_then(|network| network.class_id())
        .filter(|id| *id != 0);
    id.map_or(Ok(()), |id| {
        control_file::write(dir, "net_cls.classid", &id.to_string())
    })
}

pub(super) fn apply_priorities(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(network) = resources.network() else {
        return Ok(());
    };
    for entry in network.priorities().iter().flatten() {
        control_file::write(
            dir,
            "net_prio.ifpriomap",
            &format!("{} {}", entry.name(), entry.priority()),
        )?;
    }
    Ok(())
}
