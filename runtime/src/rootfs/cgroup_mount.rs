//! `/sys/fs/cgroup` inside the container.

use std::os::fd::AsFd;

use davit_cgroup::MountTable;
use davit_sys::mount_attr::{MountAttr, RDONLY, mount_setattr};
use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};

use crate::rootfs::{
    gate::{Gate, Kind},
    mount::{MountError, Step, attach, copy_of_host, filesystem},
    options::{MountOptions, Tree},
};

/// What the container is to see of the cgroup hierarchies.
#[derive(Debug)]
pub struct CgroupView {
    /// The machine's layout and the container's place in it.
    pub table: MountTable,
    /// Whether the container has a cgroup namespace: then the hierarchies are mounted afresh and start at its own
    /// cgroup, else its directories are bound.
    pub namespace: bool,
}

/// Mounts what a `cgroup` or `cgroup2` mount of config.json stands for on this machine.
pub fn mount(gate: &Gate, destination: &str, options: &MountOptions, view: &CgroupView) -> Result<(), MountError> {
    let place = gate.ensure(destination, Kind::Directory).step("make destination")?;
    match &view.table {
        MountTable::Unified { source } => {
            let tree = match view.namespace {
                true => filesystem("cgroup2", "cgroup", &with_data(options, ""))?,
                false => bound(source, options)?,
            };
            attach(tree.as_fd(), place.as_fd()).step("attach")
        }
        MountTable::Hierarchies { mounts, symlinks } => {
            let mut holder = with_data(options, "mode=755");
            holder.attr.set &= !RDONLY;
            let tmpfs = filesystem("tmpfs", "tmpfs", &holder)?;
            attach(tmpfs.as_fd(), place.as_fd()).step("attach")?;
            for hierarchy in mounts {
                mkdirat(&tmpfs, &hierarchy.name, Mode::from_raw_mode(0o755)).step("make hierarchy")?;
                let place = openat(&tmpfs, &hierarchy.name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
                    .step("open hierarchy")?;
                let tree = match view.namespace {
                    true => filesystem("cgroup", "cgroup", &with_data(options, &hierarchy.data))?,
                    false => bound(&hierarchy.source, options)?,
                };
                attach(tree.as_fd(), place.as_fd()).step("attach hierarchy")?;
            }
            for (name, target) in symlinks {
                symlinkat(target.as_str(), &tmpfs, name.as_str()).step("link controller")?;
            }
            match options.read_only() {
                true => mount_setattr(tmpfs.as_fd(), false, &MountAttr::set(RDONLY)).step("make read-only"),
                false => Ok(()),
            }
        }
    }
}

fn bound(source: &std::path::Path, options: &MountOptions) -> Result<std::os::fd::OwnedFd, MountError> {
    let tree = copy_of_host(source, Tree::Single).step("open cgroup")?;
    if !options.attr.is_empty() {
        mount_setattr(tree.as_fd(), false, &options.attr).step("set attributes")?;
    }
    Ok(tree)
}

fn with_data(options: &MountOptions, data: &str) -> MountOptions {
    MountOptions {
        attr: options.attr,
        data: data
            .split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect(),
        ..MountOptions::default()
    }
}
