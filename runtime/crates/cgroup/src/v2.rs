//! The v2 hierarchy on its own.
//!
//! One file per controller; this one makes the directory and enables the controllers on the way to it.

pub(crate) mod cpu;
mod devices;
mod freezer;
mod hugetlb;
pub(crate) mod io;
pub(crate) mod memory;
mod stats;
mod tree;
mod unified;
pub(crate) mod v1_only;

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
};

use crate::{
    Backup, CgroupError, MountTable, Result, Stats, control_file,
    host::Hierarchy,
    path::CgroupPath,
    processes,
    v1::{Apply, SIGKILL, below, cpuset, hugetlb as v1_hugetlb, pids, rdma},
    walk,
};

/// The container's directory in the v2 hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Unified {
    mount_point: PathBuf,
    dir: PathBuf,
}

impl Unified {
    pub(crate) fn plan(mounted: &Hierarchy, path: &CgroupPath) -> Self {
        Unified {
            mount_point: mounted.mount_point.clone(),
            dir: mounted.directory_beside(path),
        }
    }

    /// The caller's own place.
    pub(crate) fn own(mounted: &Hierarchy) -> Self {
        Unified {
            mount_point: mounted.mount_point.clone(),
            dir: mounted.own_directory(),
        }
    }

    pub(crate) fn from_paths(mounted: &Hierarchy, paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        match paths.get("") {
            Some(dir) if below(&mounted.mount_point, dir) => Ok(Unified {
                mount_point: mounted.mount_point.clone(),
                dir: dir.clone(),
            }),
            _ => Err(CgroupError::NoPaths),
        }
    }

    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        BTreeMap::from([(String::new(), self.dir.clone())])
    }

    /// Refuses what no file of v2 takes; of what v2 does not have at all, see [`v1_only`].
    pub(crate) fn check(&self, resources: &LinuxResources) -> Result<()> {
        memory::check(resources)?;
        v1_hugetlb::check(resources)?;
        unified::check(resources)
    }

    /// Whether a limit is wanted at all.
    pub(crate) fn needs_controller(&self, resources: &LinuxResources) -> bool {
        tree::needs_domain(resources)
            || pids::needs(resources).is_some()
            || cpuset::needs(resources).is_some()
            || rdma::needs(resources).is_some()
            || cpu::needs(resources)
            || resources.unified().as_ref().is_some_and(|unified| !unified.is_empty())
    }

    /// Says whether it was not there before.
    pub(crate) fn create(&self, resources: &LinuxResources) -> Result<bool> {
        let is_new = tree::create(&self.mount_point, &self.dir, resources)?;
        if !is_new {
            self.check_unused()?;
        }
        Ok(is_new)
    }

    pub(crate) fn check_unused(&self) -> Result<()> {
        match processes::in_tree(&self.dir)?.len() {
            0 if self.frozen()? => Err(CgroupError::Frozen),
            0 => Ok(()),
            count => Err(CgroupError::NotEmpty(count)),
        }
    }

    /// Enables the controllers that systemd has not enabled on the way to the directory.
    pub(crate) fn complete(&self, resources: &LinuxResources) -> Result<()> {
        tree::create(&self.mount_point, &self.dir, resources).map(drop)
    }

    /// `rootless`: the filter for devices may be beyond the caller.
    pub(crate) fn apply(&self, resources: &LinuxResources, rootless: bool) -> Result<()> {
        devices::apply(&self.dir, resources).or_else(|err| if rootless { Ok(()) } else { Err(err) })?;
        self.update(resources)
    }

    /// Refuses limits below what is in use, where they ask for that.
    pub(crate) fn check_usage(&self, resources: &LinuxResources) -> Result<()> {
        memory::check_before_update(&self.dir, resources)
    }

    /// All limits but the device rules; `unified` last, for it may override any of them.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let controllers: [(&'static str, Apply); 7] = [
            ("pids", pids::apply),
            ("memory", memory::apply),
            ("io", io::apply),
            ("cpu", cpu::apply),
            ("cpuset", cpuset::apply),
            ("hugetlb", hugetlb::apply),
            ("rdma", rdma::apply),
        ];
        for (controller, apply) in controllers {
            apply(&self.dir, resources).map_err(|err| self.explain(controller, err))?;
        }
        unified::apply(&self.dir, resources)
    }

    /// A missing file most often means a controller that an ancestor does not hand down.
    fn explain(&self, controller: &'static str, err: CgroupError) -> CgroupError {
        let enabled = control_file::read(&self.dir, "cgroup.controllers").unwrap_or_default();
        match err.is(Errno::NOENT) && !enabled.split(' ').any(|name| name == controller) {
            true => CgroupError::MissingController {
                controller,
                limit: controller,
            },
            false => err,
        }
    }

    pub(crate) fn back_up(&self, backup: &mut Backup, resources: &LinuxResources) {
        backup.add_v2(&self.dir, resources);
    }

    pub(crate) fn clone_fd(&self) -> Result<Option<OwnedFd>> {
        open_directory(&self.dir).map(Some)
    }

    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        control_file::write(&self.dir, "cgroup.procs", &pid.to_string())
    }

    pub(crate) fn leader(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn kill_all(&self, signal: i32) -> Result<()> {
        if !self.dir.exists() {
            return Ok(());
        }
        if signal == SIGKILL {
            // The kernel kills the whole tree at once, frozen or not. Linux 5.14.
            match control_file::write(&self.dir, "cgroup.kill", "1") {
                Err(err) if err.is(Errno::NOENT) || err.is(Errno::OPNOTSUPP) => {}
                result => return result,
            }
        }
        let was_frozen = self.frozen().unwrap_or(false);
        let _ = self.freeze();
        let result = processes::signal_tree(&self.dir, signal);
        if !was_frozen {
            self.thaw()?;
        }
        result
    }

    /// Here a frozen process dies of SIGKILL like any other.
    pub(crate) fn kill_frozen(&self) -> Result<()> {
        Ok(())
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        freezer::freeze(&self.dir)
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        freezer::thaw(&self.dir)
    }

    pub(crate) fn frozen(&self) -> Result<bool> {
        freezer::is_frozen(&self.dir)
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        stats::read(&self.dir)
    }

    pub(crate) fn mount_table(&self) -> MountTable {
        MountTable::Unified {
            source: self.dir.clone(),
            hierarchy: self.mount_point.clone(),
        }
    }

    pub(crate) fn destroy(&self) -> Result<()> {
        walk::remove(&self.dir)
    }
}

/// A cgroup's directory as `clone3` takes it.
pub(crate) fn open_directory(dir: &Path) -> Result<OwnedFd> {
    openat(
        CWD,
        dir,
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|err| CgroupError::Read {
        path: dir.into(),
        source: err.into(),
    })
}
