//! A container's cgroup, whatever the machine has mounted and whoever makes it.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use oci_spec::runtime::LinuxResources;

use crate::{
    Backup, CgroupError, Driver, Manager, MountTable, OomWatch, Request, Result, Stats, delegation,
    host::Host,
    oom,
    path::CgroupPath,
    systemd::{self, Unit},
    v1::Hierarchies,
    v2::{Unified, v1_only},
};

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
    manager: Manager,
    layout: Layout,
    resources: LinuxResources,
    /// Whether systemd is still to make it, with the first process in it.
    adopts: bool,
    /// Whether somebody else was faster to make a unit of the same name, which then is none of ours to remove; known to
    /// all copies.
    taken: Arc<AtomicBool>,
    /// For the unit of the systemd driver.
    annotations: BTreeMap<String, String>,
    /// Whom its inside belongs to.
    owner: Option<u32>,
    /// Whether missing permissions may leave the container without a cgroup: nobody has named one.
    tolerant: bool,
    /// Whether it is an unprivileged user's, whom the kernel gives no say about devices.
    rootless: bool,
    /// What [`Cgroup::oom_kills`] was when it was taken over from somebody before.
    earlier_oom_kills: u64,
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
    /// Decides where the cgroup is to be; makes nothing yet. Limits that this machine cannot enforce are refused here.
    pub fn plan(request: &Request) -> Result<Self> {
        let manager = manager(request)?;
        let layout = match &manager {
            Manager::Disabled => Layout::own()?,
            Manager::Systemd(unit) => Layout::plan(&Host::discover()?, &CgroupPath::parse(&systemd::directory(unit)?)?),
            Manager::Cgroupfs => Layout::plan(&Host::discover()?, &path_of(request)?),
        };
        let resources = match (&manager, request.resources) {
            (Manager::Disabled, _) | (_, None) => LinuxResources::default(),
            (_, Some(resources)) => {
                layout.check(resources)?;
                resources.clone()
            }
        };
        let annotations = match manager {
            Manager::Systemd(_) => request.annotations.clone(),
            _ => BTreeMap::new(),
        };
        Ok(Cgroup {
            adopts: matches!(manager, Manager::Systemd(_)),
            taken: Arc::default(),
            manager,
            layout,
            resources,
            annotations,
            owner: request.owner,
            tolerant: request.rootless && request.path.is_none(),
            rootless: request.rootless,
            earlier_oom_kills: 0,
        })
    }

    /// Finds a container's cgroup again by what [`Cgroup::manager`] and [`Cgroup::paths`] said when it was made.
    pub fn again(manager: &Manager, paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let layout = match manager {
            Manager::Disabled => Layout::own()?,
            _ => Layout::from_paths(&Host::discover()?, paths)?,
        };
        Ok(Cgroup {
            adopts: false,
            taken: Arc::default(),
            manager: manager.clone(),
            layout,
            resources: LinuxResources::default(),
            annotations: BTreeMap::new(),
            owner: None,
            tolerant: false,
            rootless: false,
            earlier_oom_kills: 0,
        })
    }

    /// Who makes it.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// The directory per controller, as runc's state has it: `memory`, `name=systemd`, and the empty name for v2.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        match self.is_absent() {
            true => BTreeMap::new(),
            false => on_layout!(self, layout => layout.paths()),
        }
    }

    /// Which kernel interface limits are written to.
    pub fn version(&self) -> Version {
        match &self.layout {
            Layout::Hierarchies(_) => Version::V1,
            Layout::Unified(_) => Version::V2,
        }
    }

    /// Replaces the limits that [`Cgroup::update`] writes.
    pub fn with_resources(self, resources: &LinuxResources) -> Result<Self> {
        self.layout.check(resources)?;
        Ok(Cgroup {
            resources: resources.clone(),
            ..self
        })
    }

    /// What of `resources` has no effect here, in words for whoever has asked for it.
    pub fn passed_over(&self, resources: &LinuxResources) -> Vec<String> {
        let mut words = Vec::new();
        let memory = resources.memory().as_ref();
        if memory.is_some_and(|memory| memory.kernel().is_some() || memory.kernel_tcp().is_some()) {
            words.push("Kernel memory settings are ignored and will be removed".into());
        }
        if self.version() == Version::V2 {
            let limits = v1_only::wanted(resources).into_iter();
            words.extend(limits.map(|limit| format!("limit {limit} does not exist on cgroup v2 and is ignored")));
        }
        words
    }

    /// Makes the directories, ready to be entered.
    ///
    /// Fails on a cgroup in which somebody runs or which is frozen, and then leaves nothing of its own behind. A unit of
    /// systemd cannot be made before there is a process for it: then this only looks, and [`Cgroup::adopt`] makes it.
    pub fn create(&mut self) -> Result<()> {
        match self.manager {
            Manager::Disabled => return Ok(()),
            Manager::Systemd(_) => {
                // What a unit of this name has left may be there.
                self.earlier_oom_kills = self.oom_kills();
                return on_layout!(self, layout => layout.check_unused());
            }
            Manager::Cgroupfs => {}
        }
        let made = match &mut self.layout {
            Layout::Hierarchies(hierarchies) => hierarchies.create(&self.resources, self.tolerant, self.rootless),
            Layout::Unified(unified) => unified.create(&self.resources),
        };
        match made {
            Err(err) if self.tolerant && err.is_permission() => self.do_without(err),
            Err(err) => Err(err),
            Ok(is_new) => {
                if !is_new {
                    self.earlier_oom_kills = self.oom_kills();
                }
                Ok(())
            }
        }
    }

    /// Writes the limits, device rules included. Call it before anybody enters.
    pub fn apply(&self) -> Result<()> {
        match self.is_absent() || self.adopts {
            true => Ok(()),
            false => self.write_limits(),
        }
    }

    /// Whether the first process must be handed to [`Cgroup::adopt`], and wait until it has been.
    pub fn adopts(&self) -> bool {
        self.adopts
    }

    /// Lets systemd make the cgroup with the process `pid` in it, moves that where systemd does not, and writes the
    /// limits.
    pub fn adopt(&self, pid: i32) -> Result<()> {
        let Manager::Systemd(unit) = &self.manager else {
            return Ok(());
        };
        systemd::start(unit, pid, &self.resources, self.version(), &self.annotations).inspect_err(|err| {
            self.taken.store(systemd::is_taken(err), Ordering::Relaxed);
        })?;
        match &self.layout {
            Layout::Hierarchies(hierarchies) => {
                hierarchies.complete(&self.resources)?;
                self.write_limits()?;
                hierarchies.join(pid)
            }
            Layout::Unified(unified) => {
                unified.complete(&self.resources)?;
                self.write_limits()
            }
        }
    }

    /// An unprivileged user's container may be without a cgroup, but not without what was asked for.
    fn do_without(&mut self, cause: CgroupError) -> Result<()> {
        let mut limits = self.resources.clone();
        // Devices are the kernel's matter there.
        limits.set_devices(None);
        if limits != LinuxResources::default() && on_layout!(self, layout => layout.needs_controller(&limits)) {
            return Err(CgroupError::Rootless(Box::new(cause)));
        }
        // It stays where its maker is, and sees that.
        self.layout = Layout::own()?;
        self.manager = Manager::Disabled;
        Ok(())
    }

    fn write_limits(&self) -> Result<()> {
        let resources = self.resources_for_files();
        on_layout!(self, layout => layout.apply(&resources, self.rootless))?;
        match (&self.layout, self.owner) {
            (Layout::Unified(unified), Some(owner)) => delegation::hand_over(unified.leader(), owner),
            _ => Ok(()),
        }
    }

    fn resources_for_files(&self) -> LinuxResources {
        match self.manager {
            Manager::Systemd(_) => systemd::rounded(&self.resources),
            _ => self.resources.clone(),
        }
    }

    /// Writes the limits but not the device rules, for an update of a running container.
    pub fn update(&self) -> Result<()> {
        let mut resources = self.resources_for_files();
        resources.set_devices(None);
        match &self.manager {
            Manager::Disabled => return Err(CgroupError::NoCgroup),
            Manager::Cgroupfs => {}
            Manager::Systemd(unit) => {
                // systemd would set a limit that kills the container, where a limit is to be checked first.
                on_layout!(self, layout => layout.check_usage(&resources))?;
                self.unnoticed(|| systemd::update(unit, &resources, self.version()))?;
            }
        }
        on_layout!(self, layout => layout.update(&resources))
    }

    /// On v1 systemd takes all devices away and gives them back one by one: nobody may notice.
    fn unnoticed(&self, act: impl FnOnce() -> Result<()>) -> Result<()> {
        match &self.layout {
            Layout::Unified(_) => act(),
            Layout::Hierarchies(hierarchies) => hierarchies.while_frozen(act),
        }
    }

    /// What the files, and the properties of a unit, that [`Cgroup::update`] may write to hold now.
    /// Fails where systemd does not tell: an update that could not be taken back is none.
    pub fn backup(&self) -> Result<Backup> {
        let mut backup = Backup::default();
        if !self.is_absent() {
            on_layout!(self, layout => layout.back_up(&mut backup, &self.resources));
        }
        if let Manager::Systemd(unit) = &self.manager {
            backup.unit = systemd::limits(unit, &self.resources_for_files(), self.version())?;
        }
        Ok(backup)
    }

    /// Takes an update back.
    pub fn put_back(&self, backup: &Backup) -> Result<()> {
        let unit = match &self.manager {
            Manager::Systemd(unit) => self.unnoticed(|| systemd::put_back(unit, &backup.unit)),
            _ => Ok(()),
        };
        backup.put_back().and(unit)
    }

    /// The v2 directory, for `clone3(CLONE_INTO_CGROUP)`; `None` where no v2 hierarchy is mounted, and for a cgroup that
    /// is not there yet.
    pub fn clone_fd(&self) -> Result<Option<OwnedFd>> {
        if self.is_absent() || self.adopts {
            return Ok(None);
        }
        on_layout!(self, layout => layout.clone_fd())
    }

    /// Moves the calling thread into the v1 hierarchies; the v2 one is entered by [`Cgroup::clone_fd`].
    ///
    /// For a child that has one thread only, and has not left the host's mount namespace's view of the cgroup files
    /// nor given up the right to write to them. It never waits for the kernel.
    pub fn join_self(&self) -> Result<()> {
        match &self.layout {
            Layout::Hierarchies(hierarchies) if !self.is_absent() && !self.adopts => hierarchies.join_self(),
            _ => Ok(()),
        }
    }

    /// Moves the process `pid` into every hierarchy. Slow: the kernel waits for a grace period each time.
    pub fn join(&self, pid: i32) -> Result<()> {
        match self.is_absent() {
            true => Ok(()),
            false => on_layout!(self, layout => layout.join(pid)),
        }
    }

    /// Asks systemd to move the process `pid` in, for a caller who may not write to the files himself; whether there is
    /// a systemd to ask.
    pub fn attach(&self, pid: i32) -> Result<bool> {
        match &self.manager {
            Manager::Systemd(unit) => systemd::attach(unit, pid).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Whether the cgroup's directory is there.
    pub fn exists(&self) -> bool {
        !self.is_absent() && on_layout!(self, layout => layout.leader().exists())
    }

    /// The processes in it and in the cgroups below.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.present()?;
        on_layout!(self, layout => crate::processes::in_tree(layout.leader()))
    }

    /// Sends a signal to all of them, without letting a fork escape.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        self.present()?;
        on_layout!(self, layout => layout.kill_all(signal))
    }

    /// Kills all of them where some are frozen, be it by the container, and therefore deaf to a SIGKILL. Of those that
    /// are not, the first one's end is enough.
    pub fn kill_frozen(&self) -> Result<()> {
        self.present()?;
        on_layout!(self, layout => layout.kill_frozen())
    }

    /// Stops every process; returns when the last one has stopped.
    pub fn freeze(&self) -> Result<()> {
        self.present()?;
        on_layout!(self, layout => layout.freeze())
    }

    /// Lets them run on, but for those in cgroups that the container has frozen itself.
    pub fn thaw(&self) -> Result<()> {
        match self.is_absent() {
            true => Ok(()),
            false => on_layout!(self, layout => layout.thaw()),
        }
    }

    /// Whether [`Cgroup::freeze`] holds, as the kernel says.
    pub fn frozen(&self) -> Result<bool> {
        match self.is_absent() {
            true => Ok(false),
            false => on_layout!(self, layout => layout.frozen()),
        }
    }

    /// Usage and limits as they are now.
    pub fn stats(&self) -> Result<Stats> {
        self.present()?;
        on_layout!(self, layout => layout.stats())
    }

    /// Watches for processes that are killed for want of memory.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        self.present()?;
        match &self.layout {
            Layout::Hierarchies(hierarchies) => OomWatch::v1(hierarchies.memory()?),
            Layout::Unified(unified) => OomWatch::v2(unified.leader()),
        }
    }

    /// How many processes were killed for want of memory so far; 0 where nobody counts them for the container alone.
    pub fn oom_kills(&self) -> u64 {
        if self.is_absent() {
            return 0;
        }
        match &self.layout {
            Layout::Hierarchies(hierarchies) => hierarchies.memory().map_or(0, |dir| oom::killed(dir, oom::V1_COUNT)),
            Layout::Unified(unified) => oom::killed(unified.leader(), oom::V2_COUNT),
        }
    }

    /// How many of those there were before [`Cgroup::create`].
    pub fn earlier_oom_kills(&self) -> u64 {
        self.earlier_oom_kills
    }

    /// What `/sys/fs/cgroup` is to be inside the container.
    pub fn mount_table(&self) -> MountTable {
        on_layout!(self, layout => layout.mount_table())
    }

    /// Removes the directories and those below. The processes must be gone; a cgroup that is gone is no error.
    pub fn destroy(&self) -> Result<()> {
        if self.is_absent() {
            return Ok(());
        }
        if let Manager::Systemd(unit) = &self.manager {
            if self.taken.load(Ordering::Relaxed) {
                return Ok(());
            }
            let stopped = systemd::stop(unit);
            let removed = on_layout!(self, layout => layout.destroy());
            // It is the cgroup that must be gone: a systemd that does not answer then forgets the unit by itself.
            return removed.map_err(|err| stopped.err().unwrap_or(err));
        }
        on_layout!(self, layout => layout.destroy())
    }

    fn is_absent(&self) -> bool {
        self.manager == Manager::Disabled
    }

    fn present(&self) -> Result<()> {
        match self.is_absent() {
            true => Err(CgroupError::NoCgroup),
            false => Ok(()),
        }
    }
}

impl Layout {
    fn plan(host: &Host, path: &CgroupPath) -> Self {
        match host {
            Host::Hierarchies(mounted) => Layout::Hierarchies(Hierarchies::plan(mounted, path)),
            Host::Unified(mounted) => Layout::Unified(Unified::plan(mounted, path)),
        }
    }

    fn from_paths(host: &Host, paths: &BTreeMap<String, PathBuf>) -> Result<Self> {
        Ok(match host {
            Host::Hierarchies(mounted) => Layout::Hierarchies(Hierarchies::from_paths(mounted, paths)?),
            Host::Unified(mounted) => Layout::Unified(Unified::from_paths(mounted, paths)?),
        })
    }

    /// The caller's own cgroup; where nothing is mounted, the place in no hierarchy.
    fn own() -> Result<Self> {
        match Host::discover() {
            Ok(Host::Hierarchies(mounted)) => Ok(Layout::Hierarchies(Hierarchies::own(&mounted))),
            Ok(Host::Unified(mounted)) => Ok(Layout::Unified(Unified::own(&mounted))),
            Err(CgroupError::NotMounted) => Ok(Layout::Hierarchies(Hierarchies::own(&[]))),
            Err(err) => Err(err),
        }
    }

    fn check(&self, resources: &LinuxResources) -> Result<()> {
        match self {
            Layout::Hierarchies(hierarchies) => hierarchies.check(resources),
            Layout::Unified(unified) => unified.check(resources),
        }
    }
}

fn manager(request: &Request) -> Result<Manager> {
    match request.driver {
        Driver::Cgroupfs => Ok(Manager::Cgroupfs),
        Driver::Disabled => Ok(Manager::Disabled),
        Driver::Systemd => {
            systemd::check_running()?;
            systemd::check_annotations(request.annotations)?;
            Ok(Manager::Systemd(Unit::parse(
                request.path,
                request.id,
                request.rootless,
            )?))
        }
    }
}

fn path_of(request: &Request) -> Result<CgroupPath> {
    match request.path {
        Some(path) => CgroupPath::parse(path),
        None => CgroupPath::parse(request.id),
    }
}
