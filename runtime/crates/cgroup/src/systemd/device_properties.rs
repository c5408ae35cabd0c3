//! Rules for devices as properties: a strict policy, and what is allowed.
//!
//! systemd only knows lists of what is allowed. What it cannot express is left out here, with a stricter unit for the
//! moment: the filter that is attached afterwards is the whole truth.

use std::fs;

use oci_spec::runtime::LinuxDeviceCgroup;

use super::{
    dbus::Value,
    properties::{Property, add},
};
use crate::{
    Result,
    devices::{Access, DeviceList, Devices, Kind},
};

/// Since this version `char-136` needs no name from /proc/devices, and a node need not exist to be named.
const NUMBERS: u32 = 240;

pub(super) fn add_rules(properties: &mut Vec<Property>, rules: &[LinuxDeviceCgroup], systemd: u32) -> Result<()> {
    let list = DeviceList::for_container(rules)?;
    let allow = |entries| Value::Array("(ss)".into(), entries);
    // An empty list takes back what was allowed before.
    add(properties, "DeviceAllow", allow(Vec::new()));
    if list.allow_by_default && list.exceptions.is_empty() {
        add(properties, "DevicePolicy", Value::text("auto"));
        return Ok(());
    }
    add(properties, "DevicePolicy", Value::text("strict"));
    if list.allow_by_default {
        return Ok(());
    }
    let entries = list
        .exceptions
        .iter()
        .filter_map(|(devices, access)| entry(devices, *access, systemd));
    add(properties, "DeviceAllow", allow(entries.collect()));
    Ok(())
}

fn entry(devices: &Devices, access: Access, systemd: u32) -> Option<Value> {
    let kind = match devices.kind {
        Kind::Block => "block",
        Kind::Char => "char",
    };
    let node = match (devices.major, devices.minor) {
        (None, None) => format!("{kind}-*"),
        // Every major with one minor: systemd has no words for it.
        (None, Some(_)) => return None,
        (Some(major), None) if systemd >= NUMBERS => format!("{kind}-{major}"),
        (Some(major), None) => format!("{kind}-{}", group(devices.kind, major)?),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    Some(Value::Struct(vec![Value::Text(node), Value::Text(access.to_string())]))
}

/// The name of a major number in /proc/devices.
fn group(kind: Kind, major: u32) -> Option<String> {
    let table = fs::read_to_string("/proc/devices").ok()?;
    let heading = match kind {
        Kind::Block => "Block devices:",
        Kind::Char => "Character devices:",
    };
    let lines = table.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (number, name) = line.trim_start().split_once(' ')?;
        (number.parse() == Ok(major)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(rules: &str) -> Vec<Property> {
        let mut properties = Vec::new();
        add_rules(&mut properties, &serde_json::from_str::<Vec<_>>(rules).unwrap(), 252).unwrap();
        properties
    }

    #[test]
    fn a_list_is_strict_and_names_nodes_and_groups() {
        let properties = properties(
            r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "b", "major": 8, "minor": 1, "access": "r"}]"#,
        );
        assert_eq!(
            properties[0],
            ("DeviceAllow".into(), Value::Array("(ss)".into(), vec![]))
        );
        assert_eq!(properties[1], ("DevicePolicy".into(), Value::text("strict")));
        let Value::Array(_, entries) = &properties[2].1 else {
            panic!()
        };
        for (node, access) in [
            ("/dev/block/8:1", "r"),
            ("/dev/char/1:3", "rwm"),
            ("char-136", "rwm"),
            ("char-*", "m"),
        ] {
            let entry = Value::Struct(vec![Value::text(node), Value::text(access)]);
            assert!(entries.contains(&entry), "{node} {access}: {entries:?}");
        }
    }

    #[test]
    fn everything_is_no_policy_and_everything_but_one_is_nothing_for_a_moment() {
        let all = properties(r#"[{"allow": true, "access": "rwm"}]"#);
        assert_eq!(all[1], ("DevicePolicy".into(), Value::text("auto")));
        let but = properties(
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 10, "minor": 5, "access": "w"}]"#,
        );
        assert_eq!(but[1], ("DevicePolicy".into(), Value::text("strict")));
        assert_eq!(but.len(), 2);
    }
}
