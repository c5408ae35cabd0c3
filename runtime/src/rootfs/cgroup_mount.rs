//! `/sys/fs/cgroup` inside the container.

use std::{
    fs,
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

/// What /proc/PID/ns/cgroup says of the namespace that sees every cgroup (include/linux/proc_ns.h).
const INITIAL: &str = "cgroup:[4026531835]";

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

impl CgroupView {
    /// Whether the v2 hierarchy is to be the host's mount of it. In the machine's own cgroup namespace a new mount of it
    /// gives the hierarchy other options, for everybody: without nsdelegate, a container could leave its cgroup.
    pub fn shares_unified(&self) -> bool {
        let is_initial = || fs::read_link("/proc/self/ns/cgroup").is_ok_and(|link| link == Path::new(INITIAL));
        self.table.unified().is_some() && (!self.namespace || is_initial())
    }

    /// What `options` come to where the host's cgroups are shown.
    fn options(&self, options: &MountOptions) -> MountOptions {
        let mut options = options.clone();
        if !self.namespace && !self.may_be_written {
            options.set.insert(MountFlags::RDONLY);
            options.cleared.remove(MountFlags::RDONLY);
        }
        options
    }
}

/// Mounts what a `cgroup` mount of config.json stands for on this machine.
pub fn mount(setting: &Setting, destination: &str, options: &MountOptions) -> Result<(), MountError> {
    let place = setting
        .gate
        .ensure(destination, Kind::Directory)
        .step("make destination")?;
    refuse_proc(place.as_fd(), destination)?;
    let options = &setting.cgroups.options(options);
    match &setting.cgroups.table {
        MountTable::Unified { source, hierarchy } => {
            let tree = match setting.cgroups.shares_unified() {
                true => bound(hierarchy, options)?,
                false => own(setting.gate, source, options)?,
            };
            finish(&tree, place.as_fd(), options)
        }
        MountTable::Hierarchies { mounts, symlinks, .. } => {
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
                let tree = match setting.cgroups.namespace {
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

/// Mounts the host's v2 hierarchy, for a `cgroup2` mount of config.json.
pub fn mount_shared(setting: &Setting, destination: &str, options: &MountOptions) -> Result<(), MountError> {
    let place = setting
        .gate
        .ensure(destination, Kind::Directory)
        .step("make destination")?;
    refuse_proc(place.as_fd(), destination)?;
    let options = setting.cgroups.options(options);
    let hierarchy = setting
        .cgroups
        .table
        .unified()
        .ok_or(Kernel::NODEV)
        .step("find cgroup2")?;
    finish(&bound(hierarchy, &options)?, place.as_fd(), &options)
}

/// A mount of its own shows the container's cgroup as the root. Where the kernel refuses that (a user namespace that does
/// not own the cgroup namespace), the container's directory is bound.
fn own(gate: &Gate, source: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    match filesystem(gate, "cgroup2", "cgroup", options) {
        Err(MountError::Filesystem { errno, .. }) if errno.is(Kernel::PERM) || errno.is(Kernel::BUSY) => {
            bound(source, options)
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
