//! Kernel parameters: their names, and which of them belong to a namespace.

use crate::{Linux, NamespaceKind, SpecError};

/// Parameters of the IPC namespace, beside `fs.mqueue.*`.
const IPC: [&str; 9] = [
    "kernel.auto_msgmni",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

const HOSTNAME: &str = "kernel/hostname";

/// A name as a path below /proc/sys: `net.ipv4.ip_forward`, or with slashes where an interface's name has a dot
/// (`net/ipv4/conf/eth0.1/forwarding`).
pub fn path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.into(),
        _ => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
    }
}

/// Refuses what would change the host, where the container's namespace of that kind turns out to be the host's own.
pub fn refuse_in_hosts(linux: &Linux, kind: NamespaceKind) -> Result<(), SpecError> {
    match linux.sysctl.keys().find(|name| namespace_of(name) == Some(kind)) {
        Some(name) => Err(of_host(name, kind)),
        None => Ok(()),
    }
}

/// Refuses what would change the host rather than the container.
pub(crate) fn validate(linux: &Linux, hostname: &str) -> Result<(), SpecError> {
    for name in linux.sysctl.keys() {
        let path = path(name);
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(SpecError::SysctlOutside(name.clone()));
        }
        let Some(kind) = namespace_of(name) else {
            return Err(SpecError::SysctlOutside(name.clone()));
        };
        if path == HOSTNAME && !hostname.is_empty() {
            return Err(SpecError::SysctlHostname(name.clone()));
        }
        if linux.namespace(kind).is_none() {
            return Err(of_host(name, kind));
        }
    }
    Ok(())
}

/// The kind of namespace that a parameter belongs to; `None` where it is the whole machine's.
fn namespace_of(name: &str) -> Option<NamespaceKind> {
    let dotted = path(name).replace('/', ".");
    match dotted.as_str() {
        name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => Some(NamespaceKind::Ipc),
        name if name.starts_with("net.") => Some(NamespaceKind::Network),
        "kernel.domainname" | "kernel.hostname" => Some(NamespaceKind::Uts),
        _ => None,
    }
}

fn of_host(name: &str, kind: NamespaceKind) -> SpecError {
    SpecError::SysctlOfHost {
        name: name.into(),
        place: match kind {
            NamespaceKind::Network => "network",
            kind => kind.proc_name(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_belongs_to_a_namespace_or_to_the_machine() {
        for (name, kind) in [
            ("kernel.shmmax", Some(NamespaceKind::Ipc)),
            ("fs/mqueue/msg_max", Some(NamespaceKind::Ipc)),
            ("net/ipv4/conf/eth0.1/forwarding", Some(NamespaceKind::Network)),
            ("kernel.hostname", Some(NamespaceKind::Uts)),
            ("kernel.panic", None),
            ("kernel.network", None),
        ] {
            assert_eq!(namespace_of(name), kind, "{name}");
        }
    }

    #[test]
    fn the_first_separator_decides_what_the_other_means() {
        assert_eq!(path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }
}
