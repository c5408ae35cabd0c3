//! The `linux` object.

use std::{collections::BTreeMap, path::PathBuf};

use oci_spec::runtime::{LinuxResources, LinuxSeccomp};
use serde::Deserialize;

use crate::{
    IdMapping, IntelRdt, MemoryPolicy, Namespace, NamespaceKind, NetDevice, TimeOffset, null::or_default, resources,
    seccomp,
};

/// All that is particular to Linux.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// The container's namespaces; a kind that is absent is shared with the runtime.
    #[serde(deserialize_with = "or_default")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes to make beside the standard ones.
    #[serde(deserialize_with = "or_default")]
    pub devices: Vec<Device>,
    /// Where in the cgroup hierarchies the container lives; empty for the runtime's default.
    #[serde(deserialize_with = "or_default")]
    pub cgroups_path: PathBuf,
    /// Limits.
    #[serde(deserialize_with = "resources::read")]
    pub resources: Option<LinuxResources>,
    /// The propagation of the root mount.
    #[serde(deserialize_with = "or_default")]
    pub rootfs_propagation: String,
    /// The system call filter.
    #[serde(deserialize_with = "seccomp::read")]
    pub seccomp: Option<LinuxSeccomp>,
    /// Kernel parameters, by their dotted names.
    #[serde(deserialize_with = "or_default")]
    pub sysctl: BTreeMap<String, String>,
    /// Paths that read as empty in the container.
    #[serde(deserialize_with = "or_default")]
    pub masked_paths: Vec<String>,
    /// Paths that are read-only in the container.
    #[serde(deserialize_with = "or_default")]
    pub readonly_paths: Vec<String>,
    /// The execution domain.
    pub personality: Option<Personality>,
    /// The SELinux context of what is mounted, and in it of files that have none of their own.
    #[serde(deserialize_with = "or_default")]
    pub mount_label: String,
    /// What the user namespace's user ids are outside.
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// What the user namespace's group ids are outside.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
    /// A share of the caches and of the memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// Interfaces to take over, by their names outside.
    #[serde(deserialize_with = "or_default")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// The memory nodes of its pages.
    pub memory_policy: Option<MemoryPolicy>,
    /// How far the time namespace's clocks are ahead, by clock.
    #[serde(deserialize_with = "or_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

impl Linux {
    /// The container's namespace of a kind; `None` where it is shared with the runtime.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }

    /// Whether the container has a namespace of this kind that nobody had before.
    pub fn has_new(&self, kind: NamespaceKind) -> bool {
        self.namespace(kind).is_some_and(Namespace::is_new)
    }
}

/// A device node.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Where, as a path in the container.
    pub path: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Major number; without meaning for a FIFO.
    #[serde(default, deserialize_with = "or_default")]
    pub major: u32,
    /// Minor number; without meaning for a FIFO.
    #[serde(default, deserialize_with = "or_default")]
    pub minor: u32,
    /// Permission bits, 0666 where absent.
    #[serde(default)]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(default, deserialize_with = "or_default")]
    pub uid: u32,
    /// Group.
    #[serde(default, deserialize_with = "or_default")]
    pub gid: u32,
}

/// The kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub enum DeviceKind {
    /// Character device.
    #[serde(rename = "c", alias = "u")]
    Character,
    /// Block device.
    #[serde(rename = "b")]
    Block,
    /// Named pipe.
    #[serde(rename = "p")]
    Fifo,
}

/// An execution domain.
#[derive(Clone, Debug, Deserialize)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None is defined yet: they are ignored with a warning.
    #[serde(default, deserialize_with = "or_default")]
    pub flags: Vec<String>,
}
