//! `linux.resources`, with the spellings that are about.

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::spelling::spell;

/// Reads `linux.resources`.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LinuxResources>, D::Error> {
    match Option::<Value>::deserialize(deserializer)? {
        Some(resources) => parse_resources(resources).map(Some).map_err(D::Error::custom),
        None => Ok(None),
    }
}

/// Limits from JSON, whatever the case of their names. What is `null` is not there.
pub fn parse_resources(mut resources: Value) -> serde_json::Result<LinuxResources> {
    if !resources.is_object() {
        return Err(serde_json::Error::custom("limits are expected as an object, in braces"));
    }
    spell(&mut resources)?;
    serde_json::from_value(resources)
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
    fn a_limit_that_is_null_is_none() {
        let value = json!({"pids": {"limit": null}, "devices": [{"allow": null, "access": "rwm"}], "cpu": null});
        let resources = parse_resources(value).unwrap();
        assert_eq!(resources.pids().unwrap().limit(), 0);
        assert!(!resources.devices().as_ref().unwrap()[0].allow());
    }

    /// runc's own suite has `cpu` and `CPU` in one config.
    #[test]
    fn two_spellings_are_read_together_and_may_not_differ() {
        let resources = json!({"cpu": {"shares": 3}, "CPU": {"Cpus": "0", "SHARES": 3}});
        let resources = parse_resources(resources).unwrap();
        let cpu = resources.cpu().as_ref().unwrap();
        assert_eq!((cpu.shares(), cpu.cpus().as_deref()), (Some(3), Some("0")));
        let resources = json!({"pids": {"limit": 1}, "PIDS": {"limit": 2}});
        assert!(
            parse_resources(resources)
                .unwrap_err()
                .to_string()
                .contains("limit is there in two spellings")
        );
    }

    #[test]
    fn what_are_no_limits_is_an_error_and_no_panic() {
        for value in [
            json!("x"),
            json!([]),
            json!({"hugepageLimits": [5]}),
            json!({"hugepageLimits": 5}),
            json!({"rdma": 5}),
        ] {
            assert!(parse_resources(value.clone()).is_err(), "{value}");
        }
    }
}
