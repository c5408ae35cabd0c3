//! `linux.resources`, with the spellings that are about.

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value};

/// The names that hold limits. Go does not tell upper from lower case in names, so configs have `CPU` and `pagesize`.
#[rustfmt::skip]
const NAMES: [&str; 47] = [
    "devices", "allow", "type", "major", "minor", "access",
    "memory", "limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy",
    "checkBeforeUpdate",
    "cpu", "shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems", "idle",
    "pids",
    "blockIO", "weight", "leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
    "throttleReadIOPSDevice", "throttleWriteIOPSDevice", "rate",
    "hugepageLimits", "pageSize",
    "network", "classID", "priorities", "name", "priority",
    "rdma", "hcaHandles", "hcaObjects",
    "unified",
];

/// Reads `linux.resources`.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LinuxResources>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        Some(resources) => parse_resources(resources).map(Some).map_err(D::Error::custom),
        None => Ok(None),
    }
}

/// Limits from JSON, whatever the case of their names.
pub fn parse_resources(mut resources: Value) -> serde_json::Result<LinuxResources> {
    spell(&mut resources);
    serde_json::from_value(resources)
}

/// The depth is that of the JSON, which its parser limits.
fn spell(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(spell),
        Value::Object(object) => {
            spell_names(object);
            for (name, value) in object.iter_mut() {
                match name.as_str() {
                    // The names below are files.
                    "unified" => {}
                    // The names below are devices, and only what is below those is ours.
                    "rdma" => value
                        .as_object_mut()
                        .into_iter()
                        .flatten()
                        .for_each(|(_, limits)| spell(limits)),
                    _ => spell(value),
                }
            }
        }
        _ => {}
    }
}

fn spell_names(object: &mut Map<String, Value>) {
    let odd: Vec<(String, &str)> = object
        .keys()
        .filter(|name| !NAMES.contains(&name.as_str()))
        .filter_map(|name| {
            let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name))?;
            Some((name.clone(), *known))
        })
        .collect();
    for (name, known) in odd {
        let value = object.remove(&name).unwrap_or_default();
        match (object.get_mut(known), value) {
            (None, value) => drop(object.insert(known.into(), value)),
            // Both are about the same: what the right spelling leaves open, the other one says.
            (Some(Value::Object(right)), Value::Object(mut other)) => {
                spell_names(&mut other);
                for (name, value) in other {
                    right.entry(name).or_insert(value);
                }
            }
            (Some(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_may_be_in_any_case() {
        let value = json!({"CPU": {"Cpus": "0", "realtimeperiod": 5}, "hugepagelimits": [{"pagesize": "2MB", "limit": 1}],
            "Unified": {"CPU": "x"}, "rdma": {"LIMIT": {"HCAhandles": 3}}});
        let resources = parse_resources(value).unwrap();
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.cpus().as_deref(), cpu.realtime_period()), (Some("0"), Some(5)));
        assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].page_size(), "2MB");
        assert_eq!(resources.unified().as_ref().unwrap()["CPU"], "x");
        assert_eq!(resources.rdma().as_ref().unwrap()["LIMIT"].hca_handles(), Some(3));
    }

    #[test]
    fn two_spellings_are_read_together_and_the_right_one_wins() {
        let resources = json!({"pids": {"limit": 1}, "PIDS": {"limit": 2}, "cpu": {"shares": 3}, "CPU": {"Cpus": "0"}});
        let resources = parse_resources(resources).unwrap();
        assert_eq!(resources.pids().unwrap().limit(), 1);
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.cpus().as_deref()), (Some(3), Some("0")));
    }

    #[test]
    fn what_are_no_limits_is_an_error_and_no_panic() {
        for value in [
            json!("x"),
            json!({"hugepageLimits": [5]}),
            json!({"hugepageLimits": 5}),
            json!({"rdma": 5}),
        ] {
            assert!(parse_resources(value.clone()).is_err(), "{value}");
        }
    }
}
