//! `linux.netDevices`: interfaces that a container takes over.

use serde::Deserialize;

use crate::{Linux, NamespaceKind, SpecError, null::or_default};

/// The kernel's `IFNAMSIZ`, which counts the closing NUL.
const NAME_SIZE: usize = 16;

/// An interface of the runtime's network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NetDevice {
    /// What it is called in the container; as outside where empty.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// Refuses what the kernel would not call an interface, and moves that would move nothing.
pub(crate) fn validate(linux: &Linux) -> Result<(), SpecError> {
    if linux.net_devices.is_empty() {
        return Ok(());
    }
    if linux.namespace(NamespaceKind::Network).is_none() {
        return Err(SpecError::Shape(
            "unable to move network devices without a NET namespace",
        ));
    }
    let names = linux.net_devices.iter().flat_map(|(name, device)| {
        let inside = Some(&device.name).filter(|name| !name.is_empty());
        [Some(name), inside]
    });
    for name in names.flatten() {
        if !is_valid(name) {
            return Err(SpecError::NetDevice(name.clone()));
        }
    }
    let mut inside: Vec<&str> = linux
        .net_devices
        .iter()
        .map(|(name, device)| match device.name.is_empty() {
            true => name.as_str(),
            false => device.name.as_str(),
        })
        .collect();
    inside.sort_unstable();
    match inside.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(SpecError::NetDevice(pair[0].into())),
        None => Ok(()),
    }
}

/// As the kernel's `dev_valid_name` has it.
fn is_valid(name: &str) -> bool {
    let bad = |c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace() || c == '\x0b';
    (1..NAME_SIZE).contains(&name.len()) && name != "." && name != ".." && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(devices: &str, namespaces: &str) -> Option<String> {
        let linux = format!(r#"{{"netDevices": {devices}, "namespaces": [{namespaces}]}}"#);
        let linux: Linux = serde_json::from_str(&linux).unwrap();
        validate(&linux).err().map(|err| err.to_string())
    }

    #[test]
    fn an_interface_has_a_name_that_the_kernel_takes() {
        let own = r#"{"type": "network"}"#;
        assert_eq!(refusal(r#"{"eth0": {}, "eth1": {"name": "lan"}}"#, own), None);
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "sixteen-letters-"] {
            let text = format!("invalid network device name {bad:?}");
            assert_eq!(
                refusal(&format!(r#"{{"{bad}": {{}}}}"#), own).as_deref(),
                Some(text.as_str())
            );
        }
        assert!(refusal(r#"{"eth0": {"name": "a/b"}}"#, own).is_some());
        assert!(refusal(r#"{"eth0": {"name": "x"}, "x": {}}"#, own).is_some());
    }

    #[test]
    fn an_interface_is_moved_into_a_namespace_of_the_containers() {
        let text = refusal(r#"{"eth0": {}}"#, "").unwrap();
        assert_eq!(text, "unable to move network devices without a NET namespace");
        assert_eq!(refusal("{}", ""), None);
    }
}
