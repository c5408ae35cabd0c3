//! What a container stands on before it has a process: its cgroup, its share of the caches, and a mount of its root where
//! no mount namespace holds one.

use std::path::Path;

use davit_cgroup::Cgroup;
use davit_spec::{Config, NamespaceKind};

use super::{Launch, LaunchError};
use crate::{
    container::{
        cgroup,
        process::ProcessKey,
        record::{Record, VERSION},
        undo::Undo,
    },
    fail_point,
    intel_rdt::Membership,
    log,
    rootfs::host_mount,
};

/// What is planned of it.
pub struct Ground<'a> {
    /// The container's config.
    pub config: &'a Config,
    /// Its root.
    pub rootfs: &'a Path,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its share of the caches and of the memory bandwidth.
    pub intel_rdt: Option<Membership>,
}

impl Ground<'_> {
    /// Makes it; `undo` knows at each step what there is of it.
    pub fn make(self, launch: &Launch, undo: &mut Undo) -> Result<(Record, Cgroup), LaunchError> {
        let root_mount = match self.config.linux.namespace(NamespaceKind::Mount) {
            Some(_) => None,
            None => Some(host_mount::prepare(self.rootfs)?),
        };
        let mut record = Record {
            root_mount: root_mount.as_ref().map(|mount| mount.id),
            intel_rdt: self.intel_rdt,
            own_pids: self.config.linux.has_new(NamespaceKind::Pid),
            keyring: !launch.no_new_keyring,
            ..record(self.config, launch, self.rootfs, &self.cgroup)
        };
        undo.folder().save_plan(&record)?;
        fail_point::reach("create.planned");
        let cgroup = make_groups(self.cgroup, self.config, launch, &mut record, undo)?;
        if let Some(mount) = root_mount {
            undo.root_mount = Some((self.rootfs.to_owned(), mount.id));
            mount.attach()?;
            fail_point::reach("create.root-attached");
        }
        Ok((record, cgroup))
    }
}

/// Makes what is planned of its cgroup and its share of the caches, and brings the record up to date.
pub(in crate::container) fn make_groups(
    planned: Cgroup,
    config: &Config,
    launch: &Launch,
    record: &mut Record,
    undo: &mut Undo,
) -> Result<Cgroup, LaunchError> {
    let cgroup = cgroup::make(planned, config, &launch.id, launch.cgroup)?;
    undo.cgroup = Some(cgroup.clone());
    record.earlier_oom_kills = cgroup.earlier_oom_kills();
    warn_of_strays(config, &cgroup, launch);
    fail_point::reach("create.cgroup-made");
    if record.cgroup_paths != cgroup.paths() {
        record.cgroup_paths = cgroup.paths();
        record.cgroup_manager = cgroup.manager().clone();
        undo.folder().save_plan(record)?;
    }
    undo.folder().cgroup_is_made()?;
    // What systemd is still to make may come to be somebody else's.
    undo.owns_cgroup = !cgroup.adopts();
    cgroup.apply()?;
    fail_point::reach("create.limited");
    if let (Some(membership), Some(wanted)) = (&record.intel_rdt, &config.linux.intel_rdt) {
        undo.intel_rdt = Some(membership.clone());
        membership.make(&wanted.lines())?;
    }
    Ok(cgroup)
}

/// A record without a first process: until there is one, whatever runs in the cgroup belongs to nobody.
pub(in crate::container) fn record(config: &Config, launch: &Launch, rootfs: &Path, cgroup: &Cgroup) -> Record {
    Record {
        version: VERSION,
        id: launch.id.to_string(),
        oci_version: config.oci_version.clone(),
        init: ProcessKey { pid: 0, start_time: 0 },
        bundle: launch.bundle.clone(),
        rootfs: rootfs.into(),
        created: crate::timestamp::now(),
        annotations: config.annotations.clone(),
        cgroup_paths: cgroup.paths(),
        cgroup_manager: cgroup.manager().clone(),
        root_mount: None,
        intel_rdt: None,
        own_pids: false,
        keyring: false,
        earlier_oom_kills: 0,
    }
}

/// Without either of them nothing says which processes are the container's once its first one is gone.
fn warn_of_strays(config: &Config, cgroup: &Cgroup, launch: &Launch) {
    if launch.cgroup.rootless && cgroup.paths().is_empty() && !config.linux.has_new(NamespaceKind::Pid) {
        log::warn(
            "creating a rootless container with no cgroup and no private pid namespace. \
             Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes)",
        );
    }
}
