//! `linux.resources`, with the spellings that are about.

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// Reads limits. Go does not tell upper from lower case in names, and `pagesize` is what many have written.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LinuxResources>, D::Error> {
    let Some(mut resources) = Option::<Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    parse(&mut resources).map_err(D::Error::custom)
}

fn parse(resources: &mut Value) -> serde_json::Result<Option<LinuxResources>> {
    let limits = resources.get_mut("hugepageLimits").and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten() {
        if let Some(limit) = limit.as_object_mut()
            && !limit.contains_key("pageSize")
            && let Some(size) = limit.remove("pagesize")
        {
            limit.insert("pageSize".into(), size);
        }
    }
    serde_json::from_value(resources.take())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_size_may_be_spelled_in_lower_case() {
        for name in ["pageSize", "pagesize"] {
            let mut value = json!({"hugepageLimits": [{name: "2MB", "limit": 1}]});
            let resources = parse(&mut value).unwrap().unwrap();
            assert_eq!(resources.hugepage_limits().as_ref().unwrap()[0].page_size(), "2MB");
        }
    }

    #[test]
    fn what_are_no_limits_is_an_error_and_no_panic() {
        for mut value in [
            json!("x"),
            json!([]),
            json!({"hugepageLimits": [5]}),
            json!({"hugepageLimits": 5}),
        ] {
            assert!(parse(&mut value).is_err(), "{value}");
        }
        assert!(parse(&mut json!(null)).unwrap().is_none());
    }
}
