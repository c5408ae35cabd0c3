use std::fs;

use crate::{capabilities, modes::CgroupMode};

/// What this machine offers to containers; read once, at start.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Capabilities in the engine's bounding set: what it can give.
    pub capabilities: Vec<&'static str>,
    /// Whether /sys/fs/cgroup is the unified hierarchy.
    pub unified_cgroups: bool,
    /// Number of CPUs online.
    pub cpus: usize,
}

impl Machine {
    /// Looks around.
    pub fn detect() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self {
            capabilities: mask.map_or_else(|| capabilities::ALL.to_vec(), capabilities::from_mask),
            unified_cgroups: fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Docker's default: a cgroup namespace of its own on v2, the host's on v1.
    pub fn default_cgroup_mode(&self) -> CgroupMode {
        if self.unified_cgroups {
            CgroupMode::Private
        } else {
            CgroupMode::Host
        }
    }
}
