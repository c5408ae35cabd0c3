//! Capability sets as the kernel's bit masks.

use serde::{Deserialize, Deserializer};

use crate::null::or_default;

/// The capabilities by number, as of Linux 5.9; none was added since.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One set: a bit per capability, and the names that this version does not know (they are ignored with a warning).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapabilityList {
    /// Bit n is capability number n.
    pub bits: u64,
    /// Names without a number.
    pub unknown: Vec<String>,
}

impl CapabilityList {
    /// Adds a capability by its name.
    pub fn add(&mut self, name: &str) {
        match NAMES.iter().position(|known| *known == name) {
            Some(number) => self.bits |= 1 << number,
            None => self.unknown.push(name.into()),
        }
    }
}

impl<'de> Deserialize<'de> for CapabilityList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names: Vec<std::borrow::Cow<'de, str>> = or_default(from)?;
        let mut list = CapabilityList::default();
        names.iter().for_each(|name| list.add(name));
        Ok(list)
    }
}

/// The five sets of a process.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// What execve may ever grant.
    pub bounding: CapabilityList,
    /// What is in force.
    pub effective: CapabilityList,
    /// What a file's inheritable set is matched with.
    pub inheritable: CapabilityList,
    /// What can be put in force.
    pub permitted: CapabilityList,
    /// What survives execve without a file's help.
    pub ambient: CapabilityList,
}

impl Capabilities {
    /// Every name that was not understood, once.
    pub fn unknown(&self) -> Vec<&str> {
        let lists = [
            &self.bounding,
            &self.effective,
            &self.inheritable,
            &self.permitted,
            &self.ambient,
        ];
        let mut names: Vec<&str> = lists
            .iter()
            .flat_map(|list| list.unknown.iter().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_a_mask_and_unknown_names_are_kept_apart() {
        let list: CapabilityList = serde_json::from_str(r#"["CAP_CHOWN", "CAP_KILL", "CAP_TEST"]"#).unwrap();
        assert_eq!(list.bits, 1 | 1 << 5);
        assert_eq!(list.unknown, ["CAP_TEST"]);
    }

    #[test]
    fn null_and_absence_are_empty_sets() {
        let sets: Capabilities = serde_json::from_str(r#"{"bounding": null}"#).unwrap();
        assert_eq!(sets, Capabilities::default());
    }
}
