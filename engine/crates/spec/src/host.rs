use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    bind::Bind,
    modes::{CgroupMode, IpcMode, LogConfig, NetworkMode, PidMode, RestartPolicy, UtsMode},
    security::SecurityOptions,
};

/// How the machine holds the container: the part that belongs to this host, not to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// `-v`: binds of host paths.
    pub binds: Vec<Bind>,
    /// `--mount`: binds and tmpfs.
    pub mounts: Vec<MountRequest>,
    /// `--tmpfs`: target to options.
    pub tmpfs: BTreeMap<String, String>,
    /// `--network`.
    pub network: NetworkMode,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--log-driver`, `--log-opt`.
    pub log: LogConfig,
    /// `--cap-add`, normalised (`ALL` or `CAP_…`).
    pub cap_add: Vec<String>,
    /// `--cap-drop`, normalised.
    pub cap_drop: Vec<String>,
    /// `--privileged`.
    pub privileged: bool,
    /// `--read-only`.
    pub readonly_rootfs: bool,
    /// `--security-opt`.
    pub security: SecurityOptions,
    /// `--ipc`.
    pub ipc: IpcMode,
    /// `--pid`.
    pub pid: PidMode,
    /// `--uts`.
    pub uts: UtsMode,
    /// `--cgroupns`; the engine sets Docker's default for the machine.
    pub cgroupns: CgroupMode,
    /// Size of /dev/shm in bytes.
    pub shm_size: i64,
    /// `--device`.
    pub devices: Vec<DeviceRequest>,
    /// `--device-cgroup-rule`.
    pub device_cgroup_rules: Vec<String>,
    /// Limits.
    pub resources: Resources,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--group-add`: names or numbers.
    pub group_add: Vec<String>,
    /// `--add-host`: `name:address`.
    pub extra_hosts: Vec<String>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// Paths hidden from the container; `None` for Docker's default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths read-only in the container; `None` for Docker's default list.
    pub readonly_paths: Option<Vec<String>>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--cgroup-parent`; empty for `/davit`.
    pub cgroup_parent: String,
    /// `--runtime`; empty for the engine's default.
    pub runtime: String,
    /// Height and width of the client's terminal at creation.
    pub console_size: [u64; 2],
}

/// One `--mount`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountRequest {
    /// A host path that must exist.
    Bind {
        /// Path on the host.
        source: String,
        /// Path in the container.
        target: String,
        /// Whether writes are refused.
        read_only: bool,
        /// Mount propagation; empty for `rprivate`.
        propagation: String,
    },
    /// A file system in memory.
    Tmpfs {
        /// Path in the container.
        target: String,
        /// Whether writes are refused.
        read_only: bool,
        /// Bytes; 0 for no limit.
        size: i64,
        /// Permission bits; 0 for 1777.
        mode: u32,
    },
}

/// A device node to pass through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Path on the host: a device or a folder of them.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Letters of `rwm`.
    pub permissions: String,
}

/// A limit that setrlimit(2) sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower-case name without `RLIMIT_`.
    pub name: String,
    /// Soft limit; -1 for none.
    pub soft: i64,
    /// Hard limit; -1 for none.
    pub hard: i64,
}

/// Limits that cgroups set. Zero means unset, as in the Docker API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Bytes.
    pub memory: i64,
    /// Soft limit in bytes.
    pub memory_reservation: i64,
    /// Memory and swap together in bytes; -1 for no limit.
    pub memory_swap: i64,
    /// 0 to 100; `None` leaves the kernel's.
    pub memory_swappiness: Option<i64>,
    /// Whether the kernel must not kill on a full memory cgroup.
    pub oom_kill_disable: bool,
    /// Relative weight.
    pub cpu_shares: i64,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in each period.
    pub cpu_quota: i64,
    /// Billionths of a CPU; excludes period and quota.
    pub nano_cpus: i64,
    /// List of CPUs, kernel syntax.
    pub cpuset_cpus: String,
    /// List of memory nodes, kernel syntax.
    pub cpuset_mems: String,
    /// Number of tasks; -1 for no limit.
    pub pids_limit: i64,
    /// 10 to 1000.
    pub blkio_weight: u16,
}
