//! The container's root file system, from the host's mounts to pivot_root.

use std::path::Path;

use davit_spec::{Config, NamespaceKind, Process};

use super::{FailedMount, InitError, Plan};
use crate::{
    errno::Attempt,
    rootfs::{
        cgroup_mount::CgroupView,
        devices,
        gate::{Gate, Kind},
        masks,
        mount::{self, OpenSource},
        pivot, sysctl,
    },
    talk::Channel,
    user_namespace::source,
};

/// Makes the mounts and devices; the root is not entered yet.
pub(super) fn build(plan: &Plan, channel: &Channel) -> Result<Gate, InitError> {
    let config = &plan.config;
    let gate = pivot::prepare(&plan.rootfs, &config.linux.rootfs_propagation)?;
    let cgroups = CgroupView {
        table: plan.cgroup.mount_table(),
        namespace: config.linux.namespace(NamespaceKind::Cgroup).is_some(),
    };
    for (index, spec) in config.mounts.iter().enumerate() {
        let spec = &inside(spec, &plan.rootfs);
        let open_source = |path: &Path| source::open(path, index, channel);
        let open_source: Option<OpenSource> = plan.has_user_namespace().then_some(&open_source);
        mount::mount(&gate, spec, &plan.record.bundle, &cgroups, open_source).map_err(|cause| {
            Box::new(FailedMount {
                what: spec.source.clone(),
                destination: spec.destination.clone(),
                cause,
            })
        })?;
    }
    if devices::are_wanted(config) {
        devices::create(&gate, &config.linux.devices)?;
    }
    Ok(gate)
}

/// A destination may be given as a path of the host, below the root: it means the same place.
fn inside(mount: &davit_spec::Mount, rootfs: &Path) -> davit_spec::Mount {
    let below = rootfs
        .to_str()
        .and_then(|rootfs| mount.destination.strip_prefix(rootfs));
    let destination = below.filter(|rest| rest.starts_with('/')).unwrap_or(&mount.destination);
    davit_spec::Mount {
        destination: destination.into(),
        ..mount.clone()
    }
}

/// What must see the interfaces and mounts that hooks may have made; then the root is entered.
pub(super) fn finish(plan: &Plan, process: &Process, gate: Gate) -> Result<(), InitError> {
    let config = &plan.config;
    sysctl::write(&config.linux.sysctl)?;
    masks::protect(&gate, &config.linux.readonly_paths)?;
    masks::mask(&gate, &config.linux.masked_paths)?;
    gate.ensure(&process.cwd, Kind::Directory)
        .attempt("make cwd", &process.cwd)?;
    for path in late_read_only(config) {
        mount::seal(&gate, path)?;
    }
    pivot::enter(gate.into_root(), &plan.rootfs, plan.no_pivot)?;
    let readonly = config.root.as_ref().is_some_and(|root| root.readonly);
    Ok(pivot::finish(&config.linux.rootfs_propagation, readonly)?)
}

/// A read-only /dev can only be so when its nodes are made.
fn late_read_only(config: &Config) -> impl Iterator<Item = &str> {
    config
        .mounts
        .iter()
        .filter(|mount| mount::is_late_read_only(mount))
        .map(|mount| mount.destination.as_str())
}
