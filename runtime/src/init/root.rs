//! The container's root file system, from the host's mounts to pivot_root.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use davit_spec::{Mount, NamespaceKind, Process};

use super::{FailedMount, InitError, Plan};
use crate::{
    errno::Attempt,
    rootfs::{
        cgroup_mount::CgroupView,
        devices,
        filesystem::make_read_only,
        gate::{Gate, Kind},
        masks,
        mount::{self, Setting},
        pivot,
        planned::Planned,
        source::Sources,
        sysctl,
    },
    talk::Channel,
};

/// The root before it is entered.
pub(super) struct Root {
    /// The way to what is in it.
    pub(super) gate: Gate,
    /// Mounts that become read-only when all that has to be written in them is there.
    late: Vec<OwnedFd>,
}

/// Makes the mounts and devices; the root is not entered yet.
pub(super) fn build(plan: &mut Plan, channel: &Channel) -> Result<Root, InitError> {
    let mounts = std::mem::take(&mut plan.mounts);
    let config = &plan.config;
    let gate = match plan.has_mount_namespace() {
        true => pivot::prepare(&plan.rootfs, &config.linux.rootfs_propagation)?,
        false => pivot::open(&plan.rootfs)?,
    };
    let setting = Setting {
        gate: &gate,
        sources: Sources {
            bundle: &plan.record.bundle,
            runtime: channel,
            in_user_namespace: plan.has_user_namespace(),
        },
        cgroups: CgroupView {
            table: plan.cgroup.mount_table(),
            namespace: config.linux.namespace(NamespaceKind::Cgroup).is_some(),
            may_be_written: !plan.rootless && !plan.record.cgroup_paths.is_empty(),
        },
        label: &config.linux.mount_label,
    };
    let mut late = Vec::new();
    for planned in mounts {
        let planned = Planned {
            mount: inside(planned.mount, &plan.rootfs),
            ..planned
        };
        let made = mount::mount(&setting, &planned).map_err(|cause| {
            Box::new(FailedMount {
                what: planned.mount.source,
                destination: planned.mount.destination,
                cause,
            })
        })?;
        late.extend(made);
    }
    if devices::are_wanted(config) {
        devices::create(&gate, &config.linux.devices)?;
    }
    Ok(Root { gate, late })
}

/// A destination may be given as a path of the host, below the root: it means the same place.
pub fn inside(mut mount: Mount, rootfs: &Path) -> Mount {
    let below = rootfs
        .to_str()
        .and_then(|rootfs| mount.destination.strip_prefix(rootfs));
    if let Some(rest) = below.filter(|rest| rest.starts_with('/')) {
        mount.destination = rest.into();
    }
    mount
}

/// What must see the interfaces and mounts that hooks may have made; then the root is entered.
pub(super) fn finish(plan: &Plan, process: &Process, root: Root) -> Result<(), InitError> {
    let Root { gate, late } = root;
    let linux = &plan.config.linux;
    sysctl::write(&linux.sysctl)?;
    masks::protect(&gate, &linux.readonly_paths)?;
    masks::mask(&gate, &linux.masked_paths, &linux.mount_label)?;
    gate.ensure(&process.cwd, Kind::Directory)
        .attempt("make cwd", &process.cwd)?;
    late.iter().try_for_each(|mount| make_read_only(mount.as_fd()))?;
    drop(late);
    match plan.has_mount_namespace() {
        true => pivot::enter(gate.into_root(), &plan.rootfs, plan.no_pivot)?,
        false => pivot::change_root(&gate.into_root())?,
    }
    let readonly = plan.config.root.as_ref().is_some_and(|root| root.readonly);
    Ok(pivot::finish(&linux.rootfs_propagation, readonly)?)
}
