//! Which namespaces a container has, and which of them it shares with others.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::null::or_default;

/// A kind of namespace, by config.json's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process ids.
    Pid,
    /// Network devices, addresses, ports.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Mounts.
    Mount,
    /// User and group ids.
    User,
    /// The view of the cgroup hierarchies.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

impl NamespaceKind {
    /// All of them, by their names in config.json.
    pub const ALL: [NamespaceKind; 8] = [
        NamespaceKind::Cgroup,
        NamespaceKind::Ipc,
        NamespaceKind::Mount,
        NamespaceKind::Network,
        NamespaceKind::Pid,
        NamespaceKind::Time,
        NamespaceKind::User,
        NamespaceKind::Uts,
    ];

    /// The kernel's `CLONE_NEW*` bit.
    pub fn clone_flag(self) -> u64 {
        match self {
            NamespaceKind::Pid => 0x2000_0000,
            NamespaceKind::Network => 0x4000_0000,
            NamespaceKind::Ipc => 0x0800_0000,
            NamespaceKind::Uts => 0x0400_0000,
            NamespaceKind::Mount => 0x0002_0000,
            NamespaceKind::User => 0x1000_0000,
            NamespaceKind::Cgroup => 0x0200_0000,
            NamespaceKind::Time => 0x0000_0080,
        }
    }

    /// The name under /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Mount => "mnt",
            NamespaceKind::User => "user",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A namespace of the container: new where `path` is empty, else the existing one behind that path.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Namespace {
    /// Its kind.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// A file of a namespace of that kind, or empty.
    #[serde(default, deserialize_with = "or_default")]
    pub path: PathBuf,
}

impl Namespace {
    /// Whether it is made for this container rather than joined.
    pub fn is_new(&self) -> bool {
        self.path.as_os_str().is_empty()
    }
}
