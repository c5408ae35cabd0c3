//! devices: the list of the kernel, changed step by step into the wanted one.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::Need;
use crate::{
    CgroupError, Result,
    control_file::{self, ControlFile},
    devices::DeviceList,
};

pub(super) fn needs(resources: &LinuxResources) -> Option<Need> {
    resources
        .devices()
        .as_ref()
        .is_some_and(|rules| !rules.is_empty())
        .then_some(("devices", "devices"))
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let wanted = DeviceList::for_container(resources.devices().as_deref().unwrap_or_default())?;
    let text = control_file::read(dir, "devices.list")?;
    let current = DeviceList::parse(&text).ok_or_else(|| CgroupError::Contents {
        path: dir.join("devices.list"),
        contents: text,
    })?;
    let steps = transition(&current, &wanted);

    // Opened once: a list is a dozen writes.
    let mut allow = ControlFile::open(dir, "devices.allow")?;
    let mut deny = ControlFile::open(dir, "devices.deny")?;
    for (permit, rule) in steps {
        if permit {
            allow.write(&rule)?
        } else {
            deny.write(&rule)?
        }
    }
    Ok(())
}

/// The writes (to `devices.allow` or not, rule) that make `current` into `wanted`.
///
/// A list that allows by default hides its exceptions, so such a one is always started anew.
fn transition(current: &DeviceList, wanted: &DeviceList) -> Vec<(bool, String)> {
    let mut steps = Vec::new();
    let permit = !wanted.allow_by_default;
    let restart = current.allow_by_default || wanted.allow_by_default;
    if restart {
        steps.push((wanted.allow_by_default, "a".to_owned()));
    } else {
        let gone = current
            .exceptions
            .iter()
            .filter(|(devices, access)| wanted.exceptions.get(devices) != Some(access));
        steps.extend(gone.map(|(devices, access)| (!permit, format!("{devices} {access}"))));
    }
    let known = |devices, access| !restart && current.exceptions.get(devices) == Some(access);
    let new = wanted
        .exceptions
        .iter()
        .filter(|(devices, access)| !known(devices, access));
    steps.extend(new.map(|(devices, access)| (permit, format!("{devices} {access}"))));
    steps
}
