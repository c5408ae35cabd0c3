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

/// Refuses what would change the host rather than the container.
pub(crate) fn validate(linux: &Linux, hostname: &str) -> Result<(), SpecError> {
    for name in linux.sysctl.keys() {
        let path = path(name);
        if path.split('/').any(|part| part.is_empty() || part == "..") {
            return Err(SpecError::SysctlOutside(name.clone()));
        }
        let dotted = path.replace('/', ".");
        if let Some(kind) = namespace_of(&dotted, name, hostname)?
            && linux.namespace(kind).is_none()
        {
            let place = if kind == NamespaceKind::Network {
                "network"
            } else {
                kind.proc_name()
            };
            return Err(SpecError::SysctlOfHost {
                name: name.clone(),
                place,
            });
        }
    }
    Ok(())
}

fn namespace_of(dotted: &str, name: &str, hostname: &str) -> Result<Option<NamespaceKind>, SpecError> {
    match dotted {
        _ if IPC.contains(&dotted) || dotted.starts_with("fs.mqueue.") => Ok(Some(NamespaceKind::Ipc)),
        _ if dotted.starts_with("net.") => Ok(Some(NamespaceKind::Network)),
        "kernel.domainname" => Ok(Some(NamespaceKind::Uts)),
        "kernel.hostname" if hostname.is_empty() => Ok(Some(NamespaceKind::Uts)),
        "kernel.hostname" => Err(SpecError::SysctlHostname(name.into())),
        _ => Err(SpecError::SysctlOutside(name.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
