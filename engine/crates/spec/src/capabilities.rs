//! Capability names: the kernel's, Docker's default fourteen, and what `--cap-add` and `--cap-drop` make of them.

use crate::error::SpecError;

/// What a container has unless told otherwise.
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// All capabilities, in the kernel's order (bit 0 first).
pub const ALL: [&str; 41] = [
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

/// `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN` to the last; `all` to `ALL`.
pub fn normalise(name: &str) -> Result<String, SpecError> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(upper);
    }
    let full = if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    };
    if ALL.contains(&full.as_str()) {
        Ok(full)
    } else {
        Err(SpecError::invalid(format!(
            "invalid CapAdd: unknown capability: \"{full}\""
        )))
    }
}

/// The set that results from normalised additions and removals; `present` is what this machine has to give.
pub fn effective(add: &[String], drop: &[String], privileged: bool, present: &[&'static str]) -> Vec<&'static str> {
    if privileged {
        return present.to_vec();
    }
    let adds = |name: &str| add.iter().any(|added| added == name);
    let drops = |name: &str| drop.iter().any(|dropped| dropped == name);
    // `ALL` in one list makes the other the list of exceptions.
    if adds("ALL") {
        return present.iter().copied().filter(|name| !drops(name)).collect();
    }
    if drops("ALL") {
        return ALL.iter().copied().filter(|name| adds(name)).collect();
    }
    let kept = DEFAULT.iter().copied().filter(|name| !drops(name));
    let added = ALL.iter().copied().filter(|name| adds(name) && !DEFAULT.contains(name));
    kept.chain(added).collect()
}

/// The capabilities in a bounding set as /proc/self/status shows it.
pub fn from_mask(mask: u64) -> Vec<&'static str> {
    ALL.iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| normalise(name).unwrap()).collect()
    }

    #[test]
    fn additions_and_removals_change_the_default_set() {
        let set = effective(&names(&["net_admin"]), &names(&["CAP_KILL"]), false, &ALL);
        assert_eq!(set.len(), DEFAULT.len());
        assert!(set.contains(&"CAP_NET_ADMIN") && !set.contains(&"CAP_KILL"));
    }

    #[test]
    fn all_in_one_list_makes_the_other_its_exceptions() {
        assert_eq!(
            effective(&names(&["all"]), &names(&["kill"]), false, &ALL).len(),
            ALL.len() - 1
        );
        assert_eq!(
            effective(&names(&["kill"]), &names(&["ALL"]), false, &ALL),
            ["CAP_KILL"]
        );
        assert_eq!(effective(&[], &[], true, &ALL[..3]), ALL[..3]);
    }

    #[test]
    fn an_unknown_capability_is_refused_by_name() {
        assert!(normalise("fly").unwrap_err().to_string().contains("CAP_FLY"));
    }
}
