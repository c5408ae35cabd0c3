//! A container's cgroup, from its config and the command line, and again from its record.

use std::path::Path;

use davit_cgroup::{Cgroup, CgroupError, Driver, Request};
use davit_spec::{Config, NamespaceKind, to_host};
use oci_spec::runtime::LinuxResources;

use super::{id::ContainerId, record::Record};
use crate::{log, rootless::is_in_user_namespace};

/// What the command line says about cgroups.
#[derive(Clone, Copy, Debug, Default)]
pub struct CgroupChoice {
    /// Who makes them.
    pub driver: Driver,
    /// Whether the caller is an unprivileged user, or wishes to be treated like one.
    pub rootless: bool,
    /// Whether nobody has said so: then root of a user namespace is treated like one, too.
    pub auto: bool,
}

/// Plans and makes a container's cgroup.
///
/// Whether root is the machine's is asked only when a right is missing: it costs, and hardly ever matters.
pub fn make(planned: Cgroup, config: &Config, id: &ContainerId, choice: CgroupChoice) -> Result<Cgroup, CgroupError> {
    let mut cgroup = planned;
    match cgroup.create() {
        Err(err) if err.is_permission() && choice.auto && !choice.rootless && is_in_user_namespace() => {
            let choice = CgroupChoice {
                rootless: true,
                ..choice
            };
            let mut cgroup = plan(config, id, choice)?;
            cgroup.create().map(|()| cgroup)
        }
        made => made.map(|()| cgroup),
    }
}

/// Where the cgroup of a container is to be, and with which limits.
pub fn plan(config: &Config, id: &ContainerId, choice: CgroupChoice) -> Result<Cgroup, CgroupError> {
    let path = config.linux.cgroups_path.to_string_lossy();
    Cgroup::plan(&Request {
        driver: choice.driver,
        id: id.as_str(),
        path: (!path.is_empty()).then_some(&path),
        resources: config.linux.resources.as_ref(),
        annotations: &config.annotations,
        owner: owner(config),
        rootless: choice.rootless,
    })
}

/// Says which limits have no effect on this machine.
pub fn warn_of_limits(cgroup: &Cgroup, limits: Option<&LinuxResources>) {
    let passed_over = limits.map(|limits| cgroup.passed_over(limits));
    passed_over.iter().flatten().for_each(|words| log::warn(words));
}

impl Record {
    /// The container's cgroup.
    pub fn cgroup(&self) -> Result<Cgroup, CgroupError> {
        Cgroup::again(&self.cgroup_manager, &self.cgroup_paths)
    }
}

/// Who is to own the inside of the cgroup: the container's user, where the container can reach nothing but that (it has
/// a cgroup namespace) and may write there (the file system is not mounted read-only).
fn owner(config: &Config) -> Option<u32> {
    let linux = &config.linux;
    if !linux.has_new(NamespaceKind::Cgroup) || !is_writable(config) {
        return None;
    }
    let uid = config.process.as_ref()?.user.uid;
    match linux.namespace(NamespaceKind::User) {
        Some(_) => to_host(&linux.uid_mappings, uid),
        None => Some(uid).filter(|uid| *uid != 0),
    }
}

fn is_writable(config: &Config) -> bool {
    config.mounts.iter().any(|mount| {
        let is_cgroup = mount.source == "cgroup" || mount.kind.starts_with("cgroup");
        is_cgroup
            && Path::new(&mount.destination) == Path::new("/sys/fs/cgroup")
            && !mount.options.iter().any(|option| option == "ro")
    })
}
