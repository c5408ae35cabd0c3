//! A container's cgroup, whatever the machine has mounted.

use std::{collections::BTreeMap, os::fd::OwnedFd, path::PathBuf};

use oci_spec::runtime::LinuxResources;

use crate::{MountTable, Result, Stats, host::Host, path::CgroupPath, v1::Hierarchies, v2::Unified};

/// Which kernel interface limits are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// v1 hierarchies, with a v2 one beside them or without.
    V1,
    /// One v2 hierarchy.
    V2,
}

/// A container's place in every hierarchy, and the limits it is to have there.
#[derive(Clone, Debug)]
pub struct Cgroup {
    layout: Layout,
    resources: LinuxResources,
}

#[derive(Clone, Debug)]
enum Layout {
    Hierarchies(Hierarchies),
    Unified(Unified),
}

/// Calls the same method of whichever layout the machine has.
macro_rules! on_layout {
    ($cgroup:expr, $layout:ident => $call:expr) => {
        match &$cgroup.layout {
            Layout::Hierarchies($layout) => $call,
            Layout::Unified($layout) => $call,
        }
    };
}

impl Cgroup {
    /// Decides where the cgroup is to be; makes nothing yet.
    ///
    /// `path` is `linux.cgroupsPath`, or the container's id where that is not given. A relative path lies below the
    /// caller's own cgroup on v1 and beside it on v2. Limits that this machine cannot enforce are refused here.
    pub fn plan(path: &str, resources: Option<&LinuxResources>) -> Result<Self> {
        let path = CgroupPath::parse(path)?;
        let resources = resources.cloned().unwrap_or_default();
        let layout = match Host::discover()? {
            Host::Hierarchies(mounted) => {
                let hierarchies = Hierarchies::plan(&mounted, &path);
                hierarchies.check(&resources)?;
                Layout::Hierarchies(hierarchies)
            }
            Host::Unified(mounted) => {
                let unified = Unified::plan(&mounted, &path);
                unified.check(&resources)?;
                Layout::Unified(unified)
            }
        };
        Ok(Cgroup { layout, resources })
    }

    /// Finds a container's cgroup again by what [`Cgroup::paths`] said when it was made.
    pub fn from_paths(paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let layout = match Host::discover()? {
            Host::Hierarchies(mounted) => Layout::Hierarchies(Hierarchies::from_paths(&mounted, paths)?),
            Host::Unified(mounted) => Layout::Unified(Unified::from_paths(&mounted, paths)?),
        };
        Ok(Cgroup {
            layout,
            resources: LinuxResources::default(),
        })
    }

    /// The directory per controller, as runc's state has it: `memory`, `name=systemd`, and the empty name for v2.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        on_layout!(self, layout => layout.paths())
    }

    /// Which kernel interface limits are written to.
    pub fn version(&self) -> Version {
        match &self.layout {
            Layout::Hierarchies(_) => Version::V1,
            Layout::Unified(_) => Version::V2,
        }
    }

    /// Replaces the limits that [`Cgroup::apply`] writes, for an update.
    pub fn with_resources(self, resources: &LinuxResources) -> Result<Self> {
        on_layout!(self, layout => layout.check(resources))?;
        Ok(Cgroup {
            resources: resources.clone(),
            ..self
        })
    }

    /// Makes the directories, ready to be entered.
    ///
    /// Fails on a cgroup in which somebody runs or which is frozen, and then leaves nothing of its own behind.
    pub fn create(&self) -> Result<()> {
        on_layout!(self, layout => layout.create(&self.resources))
    }

    /// Writes the limits, device rules included. Call it before anybody enters.
    pub fn apply(&self) -> Result<()> {
        on_layout!(self, layout => layout.apply(&self.resources))
    }

    /// Writes the limits but not the device rules, for an update of a running container.
    pub fn update(&self) -> Result<()> {
        let mut resources = self.resources.clone();
        resources.set_devices(None);
        on_layout!(self, layout => layout.update(&resources))
    }

    /// The v2 directory, for `clone3(CLONE_INTO_CGROUP)`; `None` where no v2 hierarchy is mounted.
    pub fn clone_fd(&self) -> Result<Option<OwnedFd>> {
        on_layout!(self, layout => layout.clone_fd())
    }

    /// Moves the calling thread into the v1 hierarchies; the v2 one is entered by [`Cgroup::clone_fd`].
    ///
    /// For a child that has one thread only, and has not left the host's mount namespace's view of the cgroup files
    /// nor given up the right to write to them. It never waits for the kernel.
    pub fn join_self(&self) -> Result<()> {
        match &self.layout {
            Layout::Hierarchies(hierarchies) => hierarchies.join_self(),
            Layout::Unified(_) => Ok(()),
        }
    }

    /// Moves the process `pid` into every hierarchy. Slow: the kernel waits for a grace period each time.
    pub fn join(&self, pid: i32) -> Result<()> {
        on_layout!(self, layout => layout.join(pid))
    }

    /// Whether the cgroup's directory is there.
    pub fn exists(&self) -> bool {
        on_layout!(self, layout => layout.leader().exists())
    }

    /// The processes in it and in the cgroups below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        on_layout!(self, layout => crate::processes::in_tree(layout.leader()))
    }

    /// Sends a signal to all of them, without letting a fork escape.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        on_layout!(self, layout => layout.kill_all(signal))
    }

    /// Stops every process; returns when the last one has stopped.
    pub fn freeze(&self) -> Result<()> {
        on_layout!(self, layout => layout.freeze())
    }

    /// Lets them run on.
    pub fn thaw(&self) -> Result<()> {
        on_layout!(self, layout => layout.thaw())
    }

    /// Whether [`Cgroup::freeze`] holds, as the kernel says.
    pub fn frozen(&self) -> Result<bool> {
        on_layout!(self, layout => layout.frozen())
    }

    /// Usage and limits as they are now.
    pub fn stats(&self) -> Result<Stats> {
        on_layout!(self, layout => layout.stats())
    }

    /// What `/sys/fs/cgroup` is to be inside the container.
    pub fn mount_table(&self) -> MountTable {
        on_layout!(self, layout => layout.mount_table())
    }

    /// Removes the directories and those below. The processes must be gone; a cgroup that is gone is no error.
    pub fn destroy(&self) -> Result<()> {
        on_layout!(self, layout => layout.destroy())
    }
}
