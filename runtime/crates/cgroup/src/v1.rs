//! v1 hierarchies, and the v2 one beside them on a hybrid machine.
//!
//! One file per controller; this one knows where they are and which come first.

mod blkio;
mod cpu;
pub(crate) mod cpuset;
mod devices;
mod freezer;
pub(crate) mod hugetlb;
pub(crate) mod memory;
mod network;
pub(crate) mod pids;
pub(crate) mod rdma;
mod stats;

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io::{self, ErrorKind},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use oci_spec::runtime::LinuxResources;

use crate::{
    Backup, CgroupError, HierarchyMount, MountTable, Result, Stats, backup, control_file, host::Hierarchy,
    path::CgroupPath, processes, v2, walk,
};

/// The container's directory in every mounted hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchies {
    members: Vec<Member>,
}

/// The container's directory in one hierarchy.
#[derive(Clone, Debug)]
struct Member {
    controllers: Vec<String>,
    mount_point: PathBuf,
    dir: PathBuf,
}

impl Member {
    fn is_unified(&self) -> bool {
        self.controllers == [""]
    }

    /// Whether it only keeps processes together.
    fn limits_nothing(&self) -> bool {
        self.is_unified() || self.controllers.iter().all(|name| name.starts_with("name="))
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Makes the directory, ready to be entered; notes it where it is new.
    fn make(&self, made: &mut Vec<PathBuf>) -> Result<()> {
        if make_directory(&self.dir)? {
            made.push(self.dir.clone());
        }
        match self.has("cpuset") {
            true => cpuset::inherit(&self.mount_point, &self.dir),
            false => Ok(()),
        }
    }
}

impl Hierarchies {
    pub(crate) fn plan(mounted: &[Hierarchy], path: &CgroupPath) -> Self {
        let members = mounted.iter().map(|hierarchy| Member {
            controllers: hierarchy.controllers.clone(),
            mount_point: hierarchy.mount_point.clone(),
            dir: hierarchy.directory(path),
        });
        Hierarchies {
            members: members.collect(),
        }
    }

    /// The caller's own place in every hierarchy.
    pub(crate) fn own(mounted: &[Hierarchy]) -> Self {
        let members = mounted.iter().map(|hierarchy| Member {
            controllers: hierarchy.controllers.clone(),
            mount_point: hierarchy.mount_point.clone(),
            dir: hierarchy.own_directory(),
        });
        Hierarchies {
            members: members.collect(),
        }
    }

    pub(crate) fn from_paths(mounted: &[Hierarchy], paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let members: Vec<Member> = mounted
            .iter()
            .filter_map(|hierarchy| {
                let dir = hierarchy.controllers.iter().find_map(|name| paths.get(name))?.clone();
                let (controllers, mount_point) = (hierarchy.controllers.clone(), hierarchy.mount_point.clone());
                // A stored path is a file's word: nothing but what lies below the hierarchy is touched, or removed.
                below(&mount_point, &dir).then_some(Member {
                    controllers,
                    mount_point,
                    dir,
                })
            })
            .collect();
        if members.is_empty() {
            Err(CgroupError::NoPaths)
        } else {
            Ok(Hierarchies { members })
        }
    }

    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        let each = |member: &Member| {
            let dir = member.dir.clone();
            member
                .controllers
                .clone()
                .into_iter()
                .map(move |name| (name, dir.clone()))
        };
        self.members.iter().flat_map(each).collect()
    }

    /// Refuses limits whose controller is not mounted; controllers without limits may be missing.
    pub(crate) fn check(&self, resources: &LinuxResources) -> Result<()> {
        if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
            return Err(CgroupError::UnifiedNeedsV2);
        }
        hugetlb::check(resources)?;
        needs(resources).into_iter().try_for_each(|need| self.check_need(need))
    }

    /// Whether a limit is wanted at all.
    pub(crate) fn needs_controller(&self, resources: &LinuxResources) -> bool {
        !needs(resources).is_empty()
    }

    fn check_need(&self, (controller, limit): Need) -> Result<()> {
        match self.find(controller) {
            Some(_) => Ok(()),
            None => Err(CgroupError::MissingController { controller, limit }),
        }
    }

    /// Makes the directories. `tolerant`: hierarchies without permission are done without, but not those with limits.
    /// Says whether nothing of it was there before.
    pub(crate) fn create(&mut self, resources: &LinuxResources, tolerant: bool, rootless: bool) -> Result<bool> {
        let mut made = Vec::new();
        let result = self
            .make_directories(&mut made, tolerant, rootless)
            // What was there before may be somebody's.
            .and_then(|()| match made.len() < self.members.len() {
                true => self.check_unused(),
                false => Ok(()),
            })
            .and_then(|()| self.make_budget(resources));
        if result.is_err() {
            for dir in &made {
                let _ = fs::remove_dir(dir);
            }
        }
        result.map(|()| made.len() == self.members.len())
    }

    /// Makes what systemd has not made.
    pub(crate) fn complete(&self, resources: &LinuxResources) -> Result<()> {
        for member in &self.members {
            member.make(&mut Vec::new())?;
        }
        self.make_budget(resources)
    }

    /// A real-time task cannot enter a cgroup without a budget, so it is given before anybody enters.
    fn make_budget(&self, resources: &LinuxResources) -> Result<()> {
        self.find("cpu")
            .map_or(Ok(()), |dir| cpu::apply_realtime(dir, resources))
    }

    fn make_directories(&mut self, made: &mut Vec<PathBuf>, tolerant: bool, rootless: bool) -> Result<()> {
        let mut kept = Vec::new();
        let mut denied = None;
        for member in &self.members {
            match member.make(made) {
                // Where nothing is limited nothing is lost.
                Err(err) if (tolerant || rootless && member.limits_nothing()) && err.is_permission() => {
                    denied = Some(err);
                }
                result => {
                    result?;
                    kept.push(member.clone());
                }
            }
        }
        match denied {
            Some(err) if kept.is_empty() => Err(err),
            Some(_) => {
                self.members = kept;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn check_unused(&self) -> Result<()> {
        for member in &self.members {
            match processes::in_tree(&member.dir)?.len() {
                0 => {}
                count => return Err(CgroupError::NotEmpty(count)),
            }
        }
        if self.frozen()? {
            Err(CgroupError::Frozen)
        } else {
            Ok(())
        }
    }

    /// `rootless`: the rules for devices may be beyond the caller.
    pub(crate) fn apply(&self, resources: &LinuxResources, rootless: bool) -> Result<()> {
        if let Some(dir) = self.find("devices") {
            devices::apply(dir, resources).or_else(|err| if rootless { Ok(()) } else { Err(err) })?;
        }
        let mut limits = resources.clone();
        limits.set_devices(None);
        // Hierarchies may have been done without since the plan was made.
        self.check(&limits)?;
        self.update(&limits)
    }

    /// Refuses limits below what is in use, where they ask for that.
    pub(crate) fn check_usage(&self, resources: &LinuxResources) -> Result<()> {
        self.find("memory")
            .map_or(Ok(()), |dir| memory::check_before_update(dir, resources))
    }

    /// Does something with all processes stopped, as far as they can be.
    pub(crate) fn while_frozen(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.find("freezer").is_none() || self.frozen()? {
            return act();
        }
        self.freeze()?;
        let result = act();
        self.thaw()?;
        result
    }

    /// All limits but the device rules.
    pub(crate) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let controllers: [(&str, Apply); 9] = [
            ("cpuset", cpuset::apply),
            ("memory", memory::apply),
            ("cpu", cpu::apply),
            ("pids", pids::apply),
            ("blkio", blkio::apply),
            ("hugetlb", hugetlb::apply),
            ("net_cls", network::apply_class),
            ("net_prio", network::apply_priorities),
            ("rdma", rdma::apply),
        ];
        for (controller, apply) in controllers {
            if let Some(dir) = self.find(controller) {
                apply(dir, resources)?;
            }
        }
        Ok(())
    }

    pub(crate) fn back_up(&self, backup: &mut Backup, _: &LinuxResources) {
        for (controller, _) in backup::V1 {
            if let Some(dir) = self.find(controller) {
                backup.add_v1(dir, controller);
            }
        }
    }

    pub(crate) fn clone_fd(&self) -> Result<Option<OwnedFd>> {
        let unified = self.members.iter().find(|member| member.is_unified());
        unified.map(|member| v2::open_directory(&member.dir)).transpose()
    }

    pub(crate) fn join_self(&self) -> Result<()> {
        let mut v1 = self.members.iter().filter(|member| !member.is_unified());
        v1.try_for_each(|member| control_file::write(&member.dir, "tasks", "0"))
    }

    pub(crate) fn join(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        self.members
            .iter()
            .try_for_each(|member| control_file::write(&member.dir, "cgroup.procs", &pid))
    }

    /// The hierarchy that is asked for the processes: one that every process of the container is in.
    pub(crate) fn leader(&self) -> &Path {
        let preferred = ["devices", "freezer", "pids", "memory", "name=systemd"];
        preferred
            .iter()
            .find_map(|name| self.find(name))
            .unwrap_or_else(|| &self.members[0].dir)
    }

    pub(crate) fn kill_all(&self, signal: i32) -> Result<()> {
        if !self.leader().exists() {
            return Ok(());
        }
        // Stopped processes cannot fork out of the list; where they cannot be stopped, the signal goes out anyway.
        let was_frozen = self.frozen().unwrap_or(false);
        let _ = self.freeze();
        let result = processes::signal_tree(self.leader(), signal);
        match signal {
            // A frozen process only dies once it is thawed.
            SIGKILL => self.find("freezer").map_or(Ok(()), freezer::thaw_tree)?,
            _ if was_frozen => {}
            _ => self.thaw()?,
        }
        result
    }

    /// All at once: were the frozen ones let go first, those beside them could freeze them again.
    pub(crate) fn kill_frozen(&self) -> Result<()> {
        match self.find("freezer").map(freezer::is_tree_frozen).transpose()? {
            Some(true) => self.kill_all(SIGKILL),
            _ => Ok(()),
        }
    }

    /// The directory in which memory is counted.
    pub(crate) fn memory(&self) -> Result<&Path> {
        self.find("memory").ok_or(CgroupError::MissingController {
            controller: "memory",
            limit: "notice of lacking memory",
        })
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        let dir = self.find("freezer").ok_or(FREEZER_MISSING)?;
        freezer::freeze(dir)
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        self.find("freezer").map_or(Ok(()), freezer::thaw)
    }

    pub(crate) fn frozen(&self) -> Result<bool> {
        self.find("freezer").map_or(Ok(false), freezer::is_frozen)
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        stats::read(self)
    }

    pub(crate) fn mount_table(&self) -> MountTable {
        let mut mounts = Vec::new();
        let mut symlinks = Vec::new();
        for member in self.members.iter().filter(|member| !member.is_unified()) {
            let Some(name) = member
                .mount_point
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
            else {
                continue;
            };
            let plain = member.controllers.iter().filter(|controller| **controller != name);
            if member.controllers.len() > 1 {
                symlinks.extend(plain.map(|controller| (controller.clone(), name.clone())));
            }
            let list = member.controllers.join(",");
            let data = if list.starts_with("name=") {
                format!("none,{list}")
            } else {
                list
            };
            mounts.push(HierarchyMount {
                name,
                data,
                source: member.dir.clone(),
            });
        }
        let unified = self.members.iter().find(|member| member.is_unified());
        MountTable::Hierarchies {
            mounts,
            symlinks,
            unified: unified.map(|member| member.mount_point.clone()),
        }
    }

    pub(crate) fn destroy(&self) -> Result<()> {
        // The rest is removed even where one resists.
        let results: Vec<_> = self.members.iter().map(|member| walk::remove(&member.dir)).collect();
        results.into_iter().collect()
    }

    fn find(&self, controller: &str) -> Option<&Path> {
        self.members
            .iter()
            .find(|member| member.has(controller))
            .map(|member| member.dir.as_path())
    }
}

pub(crate) const SIGKILL: i32 = 9;

/// Writes what one controller is to have into the container's directory.
pub(crate) type Apply = fn(&Path, &LinuxResources) -> Result<()>;

/// What the limits need.
fn needs(resources: &LinuxResources) -> Vec<Need> {
    let others = [
        pids::needs(resources),
        cpuset::needs(resources),
        devices::needs(resources),
        blkio::needs(resources),
        hugetlb::needs(resources),
        rdma::needs(resources),
    ];
    cpu::needs(resources)
        .into_iter()
        .chain(memory::needs(resources))
        .chain(others.into_iter().flatten())
        .chain(network::needs(resources))
        .collect()
}

/// A limit and the controller it needs.
type Need = (&'static str, &'static str);

const FREEZER_MISSING: CgroupError = CgroupError::MissingController {
    controller: "freezer",
    limit: "freeze",
};

/// Makes `dir` and what is missing above it; whether `dir` is new.
fn make_directory(dir: &Path) -> Result<bool> {
    let failed = |source| CgroupError::Create {
        path: dir.into(),
        source,
    };
    match make_one(dir) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(err) if err.kind() == ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .map(|()| true)
            .map_err(failed),
        Err(err) => Err(failed(err)),
    }
}

/// Makes one directory that only its owner writes to: a runtime may have no umask.
pub(crate) fn make_one(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(dir)
}

/// Whether `dir` names something below `mount_point`, and not by way of `..`.
pub(crate) fn below(mount_point: &Path, dir: &Path) -> bool {
    use std::path::Component;
    dir.strip_prefix(mount_point).is_ok_and(|rest| {
        !rest.as_os_str().is_empty() && rest.components().all(|part| matches!(part, Component::Normal(_)))
    })
}

#[cfg(test)]
mod tests;
