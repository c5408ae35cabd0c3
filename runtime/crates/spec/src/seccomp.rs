//! `linux.seccomp`, which may be there and empty.

use std::path::PathBuf;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, value},
};

use crate::null::or_default;

/// The fields, of which none is asked for yet.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(deserialize_with = "or_default")]
    default_action: String,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<LinuxSyscall>>,
}

/// Reads `linux.seccomp`. As with runc, one that has neither a default action nor rules is none.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LinuxSeccomp>, D::Error> {
    let Some(read) = Option::<Filter>::deserialize(from)? else {
        return Ok(None);
    };
    if read.default_action.is_empty() && read.syscalls.as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let mut filter = LinuxSeccomp::default();
    filter.set_default_action(action(&read.default_action).map_err(D::Error::custom)?);
    filter.set_default_errno_ret(read.default_errno_ret);
    filter.set_architectures(read.architectures);
    filter.set_flags(read.flags);
    filter.set_listener_path(read.listener_path);
    filter.set_listener_metadata(read.listener_metadata);
    filter.set_syscalls(read.syscalls);
    Ok(Some(filter))
}

fn action(name: &str) -> Result<LinuxSeccompAction, value::Error> {
    LinuxSeccompAction::deserialize(name.into_deserializer())
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn filter(json: &str) -> Result<Option<usize>, String> {
        let config = Config::parse(format!(r#"{{"linux": {{"seccomp": {json}}}}}"#).as_bytes());
        let filter = config.map_err(|err| err.to_string())?.linux.seccomp;
        Ok(filter.map(|filter| filter.syscalls().as_ref().map_or(0, Vec::len)))
    }

    #[test]
    fn a_filter_without_an_action_and_rules_is_none() {
        for none in [
            "null",
            "{}",
            r#"{"syscalls": []}"#,
            r#"{"defaultAction": "", "architectures": ["SCMP_ARCH_X86"]}"#,
        ] {
            assert_eq!(filter(none), Ok(None), "{none}");
        }
        assert_eq!(filter(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), Ok(Some(0)));
        let rule = r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#;
        assert!(filter(&format!(r#"{{"syscalls": [{rule}]}}"#)).is_err());
        assert!(
            filter(r#"{"defaultAction": "SCMP_ACT_ODD"}"#)
                .unwrap_err()
                .contains("SCMP_ACT_ODD")
        );
    }
}
