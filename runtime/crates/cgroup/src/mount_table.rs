//! What `/sys/fs/cgroup` looks like inside a container.

use std::path::{Path, PathBuf};

/// How to mount `/sys/fs/cgroup` for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountTable {
    /// A tmpfs that holds one mount per v1 hierarchy and a symlink per controller that shares one.
    Hierarchies {
        /// One directory each; the v2 hierarchy of a hybrid machine is not among them, as under runc.
        mounts: Vec<HierarchyMount>,
        /// (link name, its text), for instance (`cpu`, `cpu,cpuacct`).
        symlinks: Vec<(String, String)>,
        /// Where the host has the v2 hierarchy, on a hybrid machine.
        unified: Option<PathBuf>,
    },
    /// One cgroup2 mount.
    Unified {
        /// The container's directory on the host, to bind where its cgroup namespace cannot be mounted.
        source: PathBuf,
        /// Where the host has the whole hierarchy, to bind where the container has no cgroup namespace.
        hierarchy: PathBuf,
    },
}

impl MountTable {
    /// Where the host has the v2 hierarchy, if anywhere.
    pub fn unified(&self) -> Option<&Path> {
        match self {
            MountTable::Hierarchies { unified, .. } => unified.as_deref(),
            MountTable::Unified { hierarchy, .. } => Some(hierarchy),
        }
    }
}

/// One v1 hierarchy inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HierarchyMount {
    /// The directory below `/sys/fs/cgroup`, named as on the host.
    pub name: String,
    /// The mount data for type `cgroup`: `cpu,cpuacct`, or `none,name=systemd`.
    pub data: String,
    /// The container's directory on the host, to bind where the container has no cgroup namespace.
    pub source: PathBuf,
}
