//! state.json: what must be known of a container later.

use std::{collections::BTreeMap, path::PathBuf};

use davit_cgroup::Manager;
use serde::{Deserialize, Serialize};

use super::process::ProcessKey;
use crate::intel_rdt::Membership;

/// The version of the record's form.
pub const VERSION: u32 = 1;

/// What the runtime keeps of a container. Whether it runs is not in here: the kernel knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`] of whoever wrote it.
    pub version: u32,
    /// The container's id.
    pub id: String,
    /// The version of the specification that its config follows.
    pub oci_version: String,
    /// Its first process.
    #[serde(flatten)]
    pub init: ProcessKey,
    /// The bundle it was made from.
    pub bundle: PathBuf,
    /// Its root file system on the host.
    pub rootfs: PathBuf,
    /// When it was made.
    pub created: String,
    /// The config's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Its directory per cgroup controller.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// Who has made its cgroup.
    #[serde(default)]
    pub cgroup_manager: Manager,
    /// The mount of its root, where that lies in the runtime's mount namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_mount: Option<u64>,
    /// Its share of the caches and of the memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<Membership>,
    /// Whether it has a pid namespace that dies with its first process.
    pub own_pids: bool,
    /// Whether its processes have a session keyring of their own.
    pub keyring: bool,
    /// How many processes of somebody before it were killed in its cgroup for want of memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier_oom_kills: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
