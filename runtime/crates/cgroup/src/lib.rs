//! Control groups: v1, hybrid and v2.
//!
//! A [`Cgroup`] is planned from `linux.cgroupsPath` and `linux.resources`, made, limited, entered and removed:
//!
//! ```text
//! plan ──▶ create ──▶ apply ──▶ clone3(clone_fd) ──▶ child: join_self ──▶ … ──▶ kill_all ──▶ destroy
//! plan ──▶ create ──▶ clone3 ──▶ adopt(pid) ──▶ … ──▶ kill_all ──▶ destroy                      with systemd
//! ```
//!
//! What is mounted is read from `/proc/self/mountinfo`; no controller is assumed to be anywhere, or together with
//! another one. On a hybrid machine the container enters the unified hierarchy too, but limits are written to v1.
//!
//! Limits are written before the container's process enters: memory is charged from its first page on, real-time
//! tasks find their budget, and a cpuset is never entered empty. Entering is on the hot path: the unified hierarchy
//! by `clone3`, v1 by the still single-threaded child that writes `0` to each `tasks` file. A write to `cgroup.procs`
//! waits for an RCU grace period, milliseconds each on an idle machine.
//!
//! cgroups-rs is a witness here, not a part: the tests let it read what this crate writes. As a part it could not carry
//! a container: on v2 it refuses any list of devices, has no `unified`, and does not wait for a freeze; on a hybrid
//! machine it leaves out the unified hierarchy; it joins through `cgroup.procs`. And it brings a D-Bus client with its
//! executor, 39 crates, into a program that runs as root.
//!
//! With the systemd driver the cgroup is a transient unit, and all but the making and the updating is the same. No thread
//! is started, no state is kept but [`Cgroup::paths`] and [`Cgroup::manager`].

mod backup;
mod cgroup;
mod control_file;
mod cpu_mask;
mod delegation;
mod devices;
mod error;
mod host;
mod intel_rdt;
mod mount_table;
mod oom;
mod path;
mod pressure;
mod processes;
mod request;
mod stats;
mod systemd;
mod v1;
mod v2;
mod walk;

pub use backup::Backup;
pub use cgroup::{Cgroup, Version};
pub use error::CgroupError;
pub use intel_rdt::{CmtStats, IntelRdt, L3CacheInfo, MbmStats, MemBwInfo};
pub use mount_table::{HierarchyMount, MountTable};
pub use oom::{OomNews, OomWatch};
pub use pressure::{Pressure, Stall};
pub use request::{Driver, Manager, Request};
pub use stats::{Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Stats, Throttling};
pub use systemd::{SystemdError, Unit};

type Result<T> = std::result::Result<T, CgroupError>;
