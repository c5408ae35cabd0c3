//! What is asked for, and what is kept of it.

use std::collections::BTreeMap;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::systemd::Unit;

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// This program, in the mounted file systems.
    #[default]
    Cgroupfs,
    /// systemd, as units.
    Systemd,
    /// Nobody: containers stay where their maker is, without limits.
    Disabled,
}

/// What a config and a command line say about a container's cgroup.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Who is to make it.
    pub driver: Driver,
    /// The container's id, which names the cgroup where no path does.
    pub id: &'a str,
    /// `linux.cgroupsPath`, `None` where it is not given: a path of directories for cgroupfs (a relative one lies below
    /// the caller's own cgroup on v1 and beside it on v2), `slice:prefix:name` for systemd.
    pub path: Option<&'a str>,
    /// `linux.resources`.
    pub resources: Option<&'a LinuxResources>,
    /// `annotations`, of which `org.systemd.property.*` are for systemd.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whom the inside of a v2 cgroup is to belong to: a host uid.
    pub owner: Option<u32>,
    /// An unprivileged user's: permissions that are missing are passed over where neither a path nor a limit needs them,
    /// and systemd is that user's own.
    pub rootless: bool,
}

impl<'a> Request<'a> {
    /// The cgroup of a container with this id, with nothing else said about it.
    pub fn new(id: &'a str) -> Self {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        Request {
            driver: Driver::Cgroupfs,
            id,
            path: None,
            resources: None,
            annotations: &NONE,
            owner: None,
            rootless: false,
        }
    }
}

/// Who has made a cgroup; beside its paths, what must be known of it later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// This program.
    #[default]
    Cgroupfs,
    /// systemd, as this unit.
    Systemd(Unit),
    /// Nobody: there is none.
    Disabled,
}
