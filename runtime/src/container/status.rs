//! Where a container is in its life, as the kernel says.

use std::fmt;

use super::{process::has_executed, record::Record, start_gate, store::Folder};

/// The state machine of the OCI runtime specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Somebody still sets it up: nothing but an end can be made of it yet.
    Creating,
    /// Set up, and waiting for `start`.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl Status {
    /// The status now.
    pub fn of(folder: &Folder, record: &Record) -> Status {
        if !record.init.is_alive() {
            return Status::Stopped;
        }
        // Until then whoever entered its namespaces could be among the host's files: its root comes late.
        if folder.is_being_made() && has_executed(record.init.pid) != Some(true) {
            return Status::Creating;
        }
        match record.cgroup().and_then(|cgroup| cgroup.frozen()) {
            Ok(true) => Status::Paused,
            _ if start_gate::is_there(folder) => Status::Created,
            _ => Status::Running,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}
