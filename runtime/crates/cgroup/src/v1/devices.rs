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

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(current: &str, wanted: &str) -> Vec<String> {
        let list = |text| DeviceList::parse(text).unwrap();
        let show = |(permit, rule)| format!("{} {rule}", if permit { "allow" } else { "deny" });
        transition(&list(current), &list(wanted))
            .into_iter()
            .map(show)
            .collect()
    }

    #[test]
    fn a_new_cgroup_is_closed_before_it_is_opened_a_little() {
        assert_eq!(
            steps("a *:* rwm", "c 1:3 rwm\nc *:* m"),
            ["deny a", "allow c *:* m", "allow c 1:3 rwm"]
        );
    }

    #[test]
    fn the_same_list_is_not_written_again() {
        assert!(steps("c 1:3 rwm\nc *:* m", "c *:* m\nc 1:3 rwm").is_empty());
    }

    #[test]
    fn a_changed_rule_is_taken_back_first() {
        assert_eq!(
            steps("c 1:3 rwm\nb 8:0 r", "c 1:3 r\nb 8:0 r"),
            ["deny c 1:3 rwm", "allow c 1:3 r"]
        );
    }

    #[test]
    fn an_open_list_is_always_started_anew() {
        assert_eq!(steps("a *:* rwm", "a *:* rwm"), ["allow a"]);
    }
}
