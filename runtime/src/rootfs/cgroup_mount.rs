//! `/sys/fs/cgroup` inside the container.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use davit_cgroup::{HierarchyMount, MountTable};
use rustix::{
    fs::{Mode, OFlags, mkdirat, openat, symlinkat},
    io::Errno as Kernel,
    mount::MountFlags,
};

use super::{
    bind::set_attributes,
    filesystem::filesystem,
    gate::{Gate, Kind},
    mount::{MountError, Setting, Step, attach, copy_of_host, finish, refuse_proc},
    options::{MountOptions, Tree},
};

/// Where the one hierarchy of a v2 machine is mounted.
const UNIFIED: &str = "/sys/fs/cgroup";

/// The flags of whatever holds no programs and no devices.
const INERT: MountFlags = MountFlags::NOEXEC.union(MountFlags::NOSUID).union(MountFlags::NODEV);

/// What the container is to see of the cgroup hierarchies.
#[derive(Debug)]
pub struct CgroupView {
    /// The machine's layout and the container's place in it.
    pub table: MountTable,
    /// Whether the container has a cgroup namespace: then the hierarchies are mounted afresh and start at its own
    /// cgroup, else its directories are bound.
    pub namespace: bool,
    /// Whether directories may be bound as writable as they are: not where they may be others' than the container's
    /// (CVE-2023-25809).
    pub may_be_written: bool,
}

/// Mounts what a `cgroup` mount of config.json stands for on this machine.
pub fn mount(setting: &Setting, destination: &str, options: &MountOptions) -> Result<(), MountError> {
    let place = setting
        .gate
        .ensure(destination, Kind::Directory)
        .step("make destination")?;
    refuse_proc(place.as_fd(), destination)?;
    let namespace = setting.cgroups.namespace;
    let mut options = options.clone();
    if !namespace && !setting.cgroups.may_be_written {
        options.set.insert(MountFlags::RDONLY);
        options.cleared.remove(MountFlags::RDONLY);
    }
    let options = &options;
    match &setting.cgroups.table {
        MountTable::Unified { source } => {
            let tree = unified(setting.gate, source, options, namespace)?;
            finish(&tree, place.as_fd(), options)
        }
        MountTable::Hierarchies { mounts, symlinks } => {
            let mut holder = with_data("mode=755", INERT);
            if !setting.label.is_empty() {
                holder.data.push(format!("context={}", setting.label));
            }
            holder.propagation.clone_from(&options.propagation);
            // It stays writable, as under runc: an init system adds hierarchies of its own.
            let tmpfs = filesystem(setting.gate, "tmpfs", "tmpfs", &holder)?;
            finish(&tmpfs, place.as_fd(), &holder)?;
            for hierarchy in mounts {
                mkdirat(&tmpfs, &hierarchy.name, Mode::from_raw_mode(0o755)).step("make hierarchy")?;
                let place = openat(&tmpfs, &hierarchy.name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .step("open hierarchy")?;
                let tree = match namespace {
                    true => fresh(setting.gate, hierarchy, options)?,
                    false => bound(&hierarchy.source, options)?,
                };
                attach(tree.as_fd(), place.as_fd()).step("attach hierarchy")?;
            }
            for (name, target) in symlinks {
                symlinkat(target.as_str(), &tmpfs, name.as_str()).step("link controller")?;
            }
            Ok(())
        }
    }
}

fn fresh(gate: &Gate, hierarchy: &HierarchyMount, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let flags = INERT | (options.set & MountFlags::RDONLY);
    filesystem(gate, "cgroup", "cgroup", &with_data(&hierarchy.data, flags))
}

/// A mount of its own shows the container's cgroup as the root, or without a cgroup namespace the whole hierarchy. Where
/// the kernel refuses that (a user namespace that does not own the cgroup namespace), the host's is bound.
fn unified(gate: &Gate, own: &Path, options: &MountOptions, namespace: bool) -> Result<OwnedFd, MountError> {
    match filesystem(gate, "cgroup2", "cgroup", options) {
        Err(MountError::Filesystem { errno, .. }) if errno.is(Kernel::PERM) || errno.is(Kernel::BUSY) => {
            bound(if namespace { own } else { Path::new(UNIFIED) }, options)
        }
        tree => tree,
    }
}

fn bound(source: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let tree = copy_of_host(source, Tree::Whole).step("open cgroup")?;
    set_attributes(tree.as_fd(), options)?;
    Ok(tree)
}

fn with_data(data: &str, set: MountFlags) -> MountOptions {
    MountOptions {
        set,
        data: data
            .split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        ..MountOptions::default()
    }
}
