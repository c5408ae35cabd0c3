//! The `process` object: also the whole content of a process.json for `exec`.

use serde::Deserialize;

use crate::{Capabilities, CpuAffinity, SpecError, null::or_default, spelling};

/// A program and what it runs with.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Whether its standard streams are a terminal.
    #[serde(deserialize_with = "or_default")]
    pub terminal: bool,
    /// The first size of that terminal.
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    #[serde(deserialize_with = "or_default")]
    pub user: User,
    /// The program and its arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    /// The whole environment, `NAME=value`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The working directory, absolute.
    #[serde(deserialize_with = "or_default")]
    pub cwd: String,
    /// The five capability sets; all empty where absent.
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(deserialize_with = "or_default")]
    pub rlimits: Vec<Rlimit>,
    /// Whether execve may never add privileges.
    #[serde(deserialize_with = "or_default")]
    pub no_new_privileges: bool,
    /// AppArmor profile to change to.
    #[serde(deserialize_with = "or_default")]
    pub apparmor_profile: String,
    /// SELinux context to change to.
    #[serde(deserialize_with = "or_default")]
    pub selinux_label: String,
    /// What the out-of-memory killer adds to its score.
    pub oom_score_adj: Option<i32>,
    /// I/O scheduling.
    #[serde(rename = "ioPriority")]
    pub io_priority: Option<IoPriority>,
    /// CPU scheduling.
    pub scheduler: Option<Scheduler>,
    /// Where it runs, if it is not the container's first process.
    #[serde(rename = "execCPUAffinity")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

impl Process {
    /// Reads a process.json; it is not validated yet.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        spelling::from_slice(json).map_err(SpecError::Json)
    }
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u16,
    /// Columns.
    pub width: u16,
}

/// Who a program runs as.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// User id.
    #[serde(deserialize_with = "or_default")]
    pub uid: u32,
    /// Group id.
    #[serde(deserialize_with = "or_default")]
    pub gid: u32,
    /// File mode creation mask; left as it is where absent.
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(deserialize_with = "or_default")]
    pub additional_gids: Vec<u32>,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the limit may be raised to.
    #[serde(default, deserialize_with = "or_default")]
    pub hard: u64,
    /// The limit.
    #[serde(default, deserialize_with = "or_default")]
    pub soft: u64,
}

/// I/O scheduling.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// 0 (first) to 7.
    #[serde(default)]
    pub priority: i64,
}

/// CPU scheduling, the parameters of sched_setattr(2).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: String,
    /// For the time-sharing policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: i32,
    /// `SCHED_FLAG_*`.
    #[serde(deserialize_with = "or_default")]
    pub flags: Vec<String>,
    /// For the deadline policy, in nanoseconds.
    pub runtime: u64,
    /// For the deadline policy, in nanoseconds.
    pub deadline: u64,
    /// For the deadline policy, in nanoseconds.
    pub period: u64,
}
