//! Docker's profile format: the OCI structure plus architectures and conditions that depend on the container.

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSyscall};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::SpecError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    #[serde(default)]
    arch_map: Vec<ArchMap>,
    #[serde(default)]
    syscalls: Vec<Map<String, Value>>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: Arch,
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Refuses a text that is not a profile, so that a create fails rather than a start.
pub(crate) fn check_profile(json: &str) -> Result<(), SpecError> {
    from_profile(json, &[]).map(drop)
}

/// The OCI filter that a profile means for these capabilities on this machine.
pub(super) fn from_profile(json: &str, capabilities: &[&str]) -> Result<LinuxSeccomp, SpecError> {
    let invalid = |error: serde_json::Error| SpecError::invalid(format!("Decoding seccomp profile failed: {error}"));
    let Profile {
        arch_map,
        syscalls,
        mut rest,
    } = serde_json::from_str(json).map_err(invalid)?;
    if !arch_map.is_empty() {
        if rest.contains_key("architectures") {
            let text = "'architectures' and 'archMap' were specified in the seccomp profile, use either one";
            return Err(SpecError::invalid(text));
        }
        rest.insert("architectures".into(), architectures(arch_map).map_err(invalid)?);
    }
    let mut kept = Vec::new();
    for call in syscalls {
        kept.extend(applicable(call, capabilities)?);
    }
    rest.insert("syscalls".into(), serde_json::to_value(kept).map_err(invalid)?);
    serde_json::from_value(Value::Object(rest)).map_err(invalid)
}

fn architectures(map: Vec<ArchMap>) -> Result<Value, serde_json::Error> {
    let native = if cfg!(target_arch = "aarch64") {
        Arch::ScmpArchAarch64
    } else {
        Arch::ScmpArchX86_64
    };
    let found = map.into_iter().find(|entry| entry.architecture == native);
    let list: Vec<Arch> = found
        .map(|entry| [vec![entry.architecture], entry.sub_architectures.unwrap_or_default()].concat())
        .unwrap_or_default();
    serde_json::to_value(list)
}

fn applicable(mut call: Map<String, Value>, capabilities: &[&str]) -> Result<Option<LinuxSyscall>, SpecError> {
    let invalid = |error: serde_json::Error| SpecError::invalid(format!("Decoding seccomp profile failed: {error}"));
    let mut condition = |key: &str| match call.remove(key) {
        None | Some(Value::Null) => Ok(Condition::default()),
        Some(value) => serde_json::from_value::<Condition>(value).map_err(invalid),
    };
    let (includes, excludes) = (condition("includes")?, condition("excludes")?);
    call.remove("comment");
    if let Some(name) = call.remove("name") {
        call.insert("names".into(), Value::Array(vec![name]));
    }
    // An argument list of null is written by Go for an empty one.
    call.retain(|_, value| !value.is_null());
    let native = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let has = |name: &String| capabilities.contains(&name.as_str());
    let included = includes.caps.iter().all(has)
        && (includes.arches.is_empty() || includes.arches.iter().any(|arch| arch == native));
    let excluded = excludes.caps.iter().any(has) || excludes.arches.iter().any(|arch| arch == native);
    // Kernels that profiles ask for (4.8) are older than any that we run on.
    let kernel_excluded = excludes.min_kernel.is_some();
    if !included || excluded || kernel_excluded {
        return Ok(None);
    }
    serde_json::from_value(Value::Object(call)).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":null}],
        "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":null},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{"caps":["CAP_SYS_ADMIN"]}}]}"#;

    #[test]
    fn conditions_of_a_profile_depend_on_the_capabilities() {
        let names = |capabilities: &[&str]| {
            let filter = from_profile(PROFILE, capabilities).unwrap();
            let calls = filter.syscalls().clone().unwrap();
            calls.iter().flat_map(|call| call.names().clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["read", "clone3"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"]), ["read", "mount"]);
    }

    #[test]
    fn a_text_that_is_no_profile_is_refused() {
        for text in ["", "nope", "{}", r#"{"defaultAction":"JUMP"}"#] {
            assert!(check_profile(text).is_err(), "{text}");
        }
    }
}
