//! The names of properties, in any case.
//!
//! Go, in which the other runtimes and most of who writes a config are written, does not tell upper from lower case in
//! names. A `readOnly` that is passed over would make a container weaker than it was asked for without a word.

use serde::de::{DeserializeOwned, Error};
use serde_json::{Map, Value};

/// All names of config.json for Linux (runtime-spec 1.3).
#[rustfmt::skip]
const NAMES: [&str; 152] = [
    "ociVersion", "process", "root", "hostname", "domainname", "mounts", "hooks", "annotations", "linux",
    "path", "readonly",
    "terminal", "consoleSize", "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges",
    "apparmorProfile", "selinuxLabel", "oomScoreAdj", "ioPriority", "scheduler", "execCPUAffinity",
    "height", "width", "uid", "gid", "umask", "additionalGids", "username", "hard", "soft", "class", "priority",
    "policy", "nice", "flags", "runtime", "deadline", "period", "initial", "final",
    "bounding", "effective", "inheritable", "permitted", "ambient",
    "destination", "type", "source", "options", "uidMappings", "gidMappings", "containerID", "hostID", "size",
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop", "timeout",
    "namespaces", "devices", "cgroupsPath", "resources", "rootfsPropagation", "seccomp", "sysctl", "maskedPaths",
    "readonlyPaths", "personality", "mountLabel", "intelRdt", "netDevices", "memoryPolicy", "timeOffsets",
    "major", "minor", "fileMode", "domain", "name", "mode", "nodes", "secs", "nanosecs", "monotonic", "boottime",
    "closID", "schemata", "l3CacheSchema", "memBwSchema", "enableMonitoring", "enableCMT", "enableMBM",
    "defaultAction", "defaultErrnoRet", "architectures", "listenerPath", "listenerMetadata", "syscalls", "names",
    "action", "errnoRet", "index", "value", "valueTwo", "op",
    "allow", "access", "memory", "limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness",
    "disableOOMKiller", "useHierarchy", "checkBeforeUpdate",
    "cpu", "shares", "quota", "burst", "realtimeRuntime", "realtimePeriod", "cpus", "mems", "idle", "pids",
    "blockIO", "weight", "leafWeight", "weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice",
    "throttleReadIOPSDevice", "throttleWriteIOPSDevice", "rate",
    "hugepageLimits", "pageSize", "network", "classID", "priorities", "rdma", "hcaHandles", "hcaObjects", "unified",
];

/// Reads JSON whose names may be in any case.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    // A list would be taken for the values of the first properties.
    if json.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(serde_json::Error::custom("an object is expected, in braces"));
    }
    // Nearly nobody's are: and then it is read without being held as a tree.
    if !has_odd_names(json) {
        return serde_json::from_slice(json);
    }
    // Through text once more: reading a tree would be all of the reading compiled a second time, 300 kB of it.
    serde_json::from_slice(&serde_json::to_vec(&tree(json)?)?)
}

/// The JSON as a tree, with the specification's names.
pub(crate) fn tree(json: &[u8]) -> serde_json::Result<Value> {
    let mut value: Value = serde_json::from_slice(json)?;
    spell(&mut value)?;
    Ok(value)
}

/// Whether a name is one of ours but for its case. It may be a name of others, in the annotations, say.
fn has_odd_names(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(start) = rest.iter().position(|byte| *byte == b'"') {
        let text = &rest[start + 1..];
        let Some(end) = end_of_string(text) else {
            return false;
        };
        let (text, tail) = text.split_at(end);
        rest = &tail[1..];
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        if next == Some(&b':') && is_odd(text) {
            return true;
        }
    }
    false
}

/// Where a string ends that begins here.
fn end_of_string(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|byte| {
        let ends = !escaped && *byte == b'"';
        escaped = !escaped && *byte == b'\\';
        ends
    })
}

fn is_odd(name: &[u8]) -> bool {
    let is = |same: fn(&[u8], &[u8]) -> bool| NAMES.iter().any(|known| same(known.as_bytes(), name));
    // An escape may stand for anything.
    !is(<[u8]>::eq) && (is(<[u8]>::eq_ignore_ascii_case) || name.contains(&b'\\'))
}

/// Gives names the case that they have in the specification, and drops what is `null`. What stands under two spellings of one name
/// is read together, as Go reads it; but where the two differ it is refused, since which of them counts would depend on the reader.
///
/// The depth is that of the JSON, which its parser limits.
pub(crate) fn spell(value: &mut Value) -> serde_json::Result<()> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(spell),
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                match known(name) {
                    // The names below are files, parameters and anybody's own.
                    Some("unified" | "sysctl" | "annotations") => {}
                    // The names below are devices, and only what is below those is ours.
                    Some("rdma" | "netDevices") => {
                        let mut devices = value.as_object_mut().into_iter().flatten();
                        devices.try_for_each(|(_, device)| spell(device))?;
                    }
                    _ => spell(value)?,
                }
            }
            spell_names(object)
        }
        _ => Ok(()),
    }
}

/// The specification's spelling of a name.
fn known(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

fn spell_names(object: &mut Map<String, Value>) -> serde_json::Result<()> {
    object.retain(|_, value| !value.is_null());
    let odd: Vec<(String, &str)> = object
        .keys()
        .filter_map(|name| Some((name.clone(), known(name).filter(|known| known != name)?)))
        .collect();
    for (name, known) in odd {
        let value = object.remove(&name).unwrap_or_default();
        unite(object, known.into(), value)?;
    }
    Ok(())
}

/// Adds a value to an object, into the one that is there already.
fn unite(object: &mut Map<String, Value>, name: String, value: Value) -> serde_json::Result<()> {
    match (object.get_mut(&name), value) {
        (None, value) => drop(object.insert(name, value)),
        (Some(Value::Object(one)), Value::Object(other)) => {
            return other.into_iter().try_for_each(|(name, value)| unite(one, name, value));
        }
        (Some(one), other) if *one == other => {}
        _ => {
            return Err(serde_json::Error::custom(format!(
                "{name} is there in two spellings, which differ"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn config(json: &str) -> Config {
        from_slice(json.as_bytes()).unwrap()
    }

    #[test]
    fn names_may_be_in_any_case() {
        let config = config(
            r#"{"ociversion": "1.0.2", "Root": {"Path": "r", "readOnly": true},
            "Process": {"ARGS": ["x"], "nonewprivileges": true, "user": {"UID": 5}, "execCpuAffinity": {"INITIAL": "0"}},
            "Linux": {"maskedpaths": ["/a"], "sysctl": {"NAME": "1"}}, "annotations": {"Mode": "kept", "mode": "kept too"}}"#,
        );
        assert_eq!(config.oci_version, "1.0.2");
        assert!(config.root.unwrap().readonly);
        let process = config.process.unwrap();
        assert!(process.no_new_privileges && process.exec_cpu_affinity.is_some());
        assert_eq!((process.args.len(), process.user.uid), (1, 5));
        assert_eq!(config.linux.masked_paths, ["/a"]);
        assert_eq!(config.linux.sysctl["NAME"], "1");
        assert_eq!(
            (&*config.annotations["Mode"], &*config.annotations["mode"]),
            ("kept", "kept too")
        );
    }

    #[test]
    fn what_is_in_two_spellings_is_read_together_and_may_not_differ() {
        for json in [
            r#"{"root": {"readonly": false, "readOnly": true}}"#,
            r#"{"root": {"READONLY": false, "readOnly": true}}"#,
            r#"{"linux": {"sysctl": {"a": "1"}}, "Linux": {"SYSCTL": {"a": "2"}}}"#,
        ] {
            let refusal = from_slice::<Config>(json.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains("in two spellings"), "{refusal}");
        }
        let both = config(
            r#"{"process": {"user": {"uid": 5}}, "Process": {"USER": {"gid": 7, "UID": 5}},
            "linux": {"sysctl": {"a.Mode": "1"}}, "Linux": {"Sysctl": {"a.mode": "2"}}}"#,
        );
        let user = both.process.unwrap().user;
        assert_eq!((user.uid, user.gid, both.linux.sysctl.len()), (5, 7, 2));
        let kept = config(r#"{"Hostname": "x", "annotations": {"Type": "a", "type": "b"}}"#);
        assert_eq!(kept.annotations.len(), 2);
    }

    #[test]
    fn an_escape_hides_no_name() {
        let config = config(r#"{"root": {"path": "r", "read\u004fnly": true}, "hostname": "a \"readOnly\": b"}"#);
        assert!(config.root.unwrap().readonly);
        assert_eq!(config.hostname, r#"a "readOnly": b"#);
    }

    #[test]
    fn a_list_is_no_config() {
        for json in ["[]", " [1]", "", "null", "7"] {
            assert!(from_slice::<Config>(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn the_example_is_read_without_a_detour() {
        assert!(!has_odd_names(crate::DEFAULT.as_bytes()));
        for odd in [r#"{"Mounts": 1}"#, "{\"a\": {\"CPU\" :1}}"] {
            assert!(has_odd_names(odd.as_bytes()), "{odd}");
        }
        for plain in [
            r#"{"a": "Mounts"}"#,
            r#"{"a": ["Mounts", 1]}"#,
            r#"{"mounts"#,
            r#"{"a\"#,
            "",
        ] {
            assert!(!has_odd_names(plain.as_bytes()), "{plain}");
        }
    }
}
