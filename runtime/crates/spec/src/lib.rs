//! The runtime's reading of config.json.
//!
//! The fields are plain and public, JSON's `null` reads as absence (Go writes it for empty lists), and what the
//! runtime cannot do is an error that names the field ([`Config::validate`]), never a silently weaker container.
//! The big subtrees with a crate of their own (resources, seccomp) keep oci-spec's types.

mod affinity;
mod capabilities;
mod config;
mod example;
mod hooks;
mod id_mapping;
mod intel_rdt;
mod linux;
mod memory_policy;
mod namespaces;
mod net_device;
mod null;
mod number_list;
mod priorities;
mod process;
mod resources;
mod seccomp;
mod spelling;
mod sysctl;
mod time_offset;
mod validate;

pub use affinity::CpuAffinity;
pub use capabilities::{Capabilities, CapabilityList, NAMES as CAPABILITY_NAMES};
pub use config::{Config, Mount, Root};
pub use example::{DEFAULT, rootless_example, with_cgroup_namespace};
pub use hooks::{Hook, Hooks};
pub use id_mapping::{IdMapping, from_table as id_mappings_from_table, to_host, to_table as id_mappings_to_table};
pub use intel_rdt::IntelRdt;
pub use linux::{Device, DeviceKind, Linux, Personality};
pub use memory_policy::{FLAGS as MEMORY_POLICY_FLAGS, MODES as MEMORY_POLICY_MODES, MemoryPolicy};
pub use namespaces::{Namespace, NamespaceKind};
pub use net_device::NetDevice;
pub use process::{ConsoleSize, IoPriority, Process, Rlimit, Scheduler, User};
pub use resources::parse_resources;
pub use sysctl::{path as sysctl_path, refuse_in_hosts as refuse_sysctls_in_hosts};
pub use time_offset::{TimeOffset, table as time_offsets_table};
pub use validate::SpecError;
