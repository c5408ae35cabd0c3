//! Making a container from an image: what [`super::launch`] does, with criu in the place of the first process's set-up.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use davit_cgroup::Cgroup;
use davit_criu::{CgroupRoot, CriuNotify, CriuOpts, CriuReq, CriuReqType, ExtMountMap, InheritFd, Version};
use davit_spec::{Config, NamespaceKind, SpecError};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{
    cgroup,
    checkpoint::{DESCRIPTORS, OLDEST},
    launch::{self, Launch, LaunchError, Launched},
    process::ProcessKey,
    record::Record,
    store::{Folder, Store, StoreError},
    undo::Undo,
};
use crate::{
    criu::{
        CriuError, excerpt,
        external::{give_mounts, give_namespaces},
        mountpoints::{self, MountpointError},
        options::Options,
        stage::Stage,
        worker::{Setting, Worker, version},
    },
    errno::{Attempt, CallError},
    fail_point,
    foreground::Streams,
    hooks::{self, HookError},
    inherited, init, notify_socket,
    program::terminal::Console,
    state::{self, StateError},
    talk,
};

const LOG: &str = "restore.log";
/// Since when criu can restore under another LSM profile.
const CHANGES_PROFILE: Version = Version::new(31600);

/// What the command line says about a restore.
#[derive(Debug)]
pub struct Restore {
    /// The container, as `create` would be told of it.
    pub launch: Launch,
    /// What `checkpoint` takes, too.
    pub options: Options,
    /// Close TCP connections instead of restoring them.
    pub tcp_close: bool,
    /// Another LSM profile.
    pub lsm_profile: Option<String>,
    /// Another LSM context of mounts.
    pub lsm_mount_context: Option<String>,
}

/// Why a container could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What fails in `create`, too.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// criu is not there, cannot, or failed.
    #[error(transparent)]
    Criu(#[from] CriuError),
    /// A place to mount on could not be made.
    #[error(transparent)]
    Mountpoint(#[from] MountpointError),
    /// The list of streams in the image.
    #[error("{0}: {1}")]
    Descriptors(PathBuf, serde_json::Error),
    /// The id is taken, or its folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// What its hooks are to get cannot be told.
    #[error(transparent)]
    Untold(#[from] StateError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The time namespace could not be named in the config.
    #[error("the time namespace cannot be added to config.json: {0}")]
    Config(SpecError),
    /// criu says that it succeeded and has not named the process.
    #[error("criu has restored a process and not named it")]
    Nameless,
    /// It is gone already.
    #[error("the restored process has ended at once")]
    Died,
}

/// Restores a container. On failure nothing of it is left.
pub fn restore(store: &Store, wish: &Restore) -> Result<Launched, RestoreError> {
    let launch = &wish.launch;
    let (mut config, json) = launch::read_config(&launch.config)?;
    inherited::close_others(0);
    let console = launch::console(&config, launch)?;
    let rootfs = launch::rootfs(&config, &launch.bundle)?;
    config.mounts = config
        .mounts
        .into_iter()
        .map(|mount| init::inside(mount, &rootfs))
        .collect();
    let cgroup = cgroup::plan(&config, &launch.id, launch.cgroup).map_err(LaunchError::Limits)?;
    cgroup::warn_of_limits(&cgroup, config.linux.resources.as_ref());
    let intel_rdt = launch::membership(&config, &launch.id).map_err(LaunchError::IntelRdt)?;
    let (folder, _claim) = store.reserve(&launch.id, &json)?;
    let mut undo = Undo::new(&folder);
    notify_socket::make_folder(&folder)?;
    let version = version()?;
    check_version(wish, version)?;
    let streams = streams(&wish.options.images)?;
    let mut record = Record {
        intel_rdt,
        ..launch::record(&config, launch, &rootfs, &cgroup)
    };
    folder.save_plan(&record)?;
    let cgroup = launch::make_groups(cgroup, &config, launch, &mut record, &mut undo)?;
    // From here on a kill leaves processes that only the cgroup knows.
    folder.save(&record)?;
    fail_point::reach("restore.planned");
    undo.poststop = Some((record.clone(), config.hooks.clone()));
    let mut restoring = Restoring {
        undo,
        config: &config,
        json: &json,
        record,
        console,
        init: None,
        terminal: None,
    };
    restoring
        .perform(wish, &cgroup, streams, version)
        .map_err(|err| match err {
            RestoreError::Criu(failure) => excerpt::explain(failure, wish.options.log_folder().join(LOG)).into(),
            other => other,
        })?;
    restoring.finish()
}

fn check_version(wish: &Restore, version: Version) -> Result<(), CriuError> {
    if version < OLDEST {
        return Err(CriuError::TooOld {
            found: version,
            wanted: OLDEST,
        });
    }
    for (wanted, flag) in [
        (&wish.lsm_profile, "--lsm-profile"),
        (&wish.lsm_mount_context, "--lsm-mount-context"),
    ] {
        if wanted.is_some() && version < CHANGES_PROFILE {
            return Err(CriuError::Lacks(format!("{flag} requires at least CRIU 3.16")));
        }
    }
    Ok(())
}

/// A container that is being restored.
struct Restoring<'a> {
    /// What there is of it.
    undo: Undo<'a>,
    config: &'a Config,
    /// What `config` was read from.
    json: &'a [u8],
    record: Record,
    console: Option<Console>,
    init: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

impl Restoring<'_> {
    fn perform(
        &mut self,
        wish: &Restore,
        cgroup: &Cgroup,
        streams: Vec<InheritFd>,
        version: Version,
    ) -> Result<(), RestoreError> {
        let (config, bundle) = (self.config, &self.record.bundle);
        let places = mountpoints::prepare(config, &self.record.rootfs, bundle)?;
        let stage = Stage::new(self.undo.folder(), &self.record.rootfs)?;
        fail_point::reach("restore.staged");
        let mut opts = CriuOpts {
            root: Some(stage.root().to_string_lossy().into_owned()),
            evasive_devices: Some(true),
            rst_sibling: Some(true),
            tcp_close: wish.tcp_close.then_some(true),
            lsm_profile: wish.lsm_profile.clone(),
            lsm_mount_context: wish.lsm_mount_context.clone(),
            inherit_fd: streams,
            ..CriuOpts::default()
        };
        let passed = give_namespaces(&mut opts, config, version)?;
        give_mounts(&mut opts, config, bundle, &places, &cgroup.mount_table(), &stage);
        give_socket(&mut opts, self.undo.folder());
        let worker = Worker::start(&Setting {
            ends_with_us: true,
            standard_streams: true,
            passed,
            cgroup: Some(cgroup),
            stage: Some(&stage),
        })?;
        self.undo.owns_cgroup = true;
        // criu's children are born in its group.
        if let Some(membership) = &self.record.intel_rdt {
            membership.adopt(worker.pid()).map_err(LaunchError::IntelRdt)?;
        }
        opts.cg_root = cgroup_roots(worker.pid())?;
        let folders = wish.options.open(worker.pid())?;
        wish.options.add_to(&mut opts, &folders, &config.annotations, LOG);
        // A terminal that is not the container's is not handed over: with --shell-job it is the standard input's.
        opts.orphan_pts_master = Some(self.console.is_some());
        let request = CriuReq {
            r#type: CriuReqType::Restore as i32,
            opts: Some(opts),
            ..CriuReq::default()
        };
        fail_point::reach("restore.prepared");
        wish.options.wait_for_pages();
        worker
            .perform(&request, |notify, fd| self.reached(notify, fd))
            .map(drop)
    }

    /// criu waits meanwhile.
    fn reached(&mut self, notify: &CriuNotify, fd: Option<OwnedFd>) -> Result<(), RestoreError> {
        match notify.point() {
            "setup-namespaces" => self.run_hooks(notify.pid.unwrap_or(0)),
            "post-restore" => self.adopt(notify.pid.unwrap_or(0)),
            "orphan-pts-master" => self.hand_over(fd),
            _ => Ok(()),
        }
    }

    /// The namespaces exist and are still empty, as when a container is created.
    fn run_hooks(&self, pid: i32) -> Result<(), RestoreError> {
        fail_point::reach("restore.namespaces-made");
        let hooks = &self.config.hooks;
        if hooks.prestart.is_empty() && hooks.create_runtime.is_empty() {
            return Ok(());
        }
        let state = state::for_hook(&self.record, pid, "creating")?;
        hooks::run("prestart", &hooks.prestart, &state)?;
        Ok(hooks::run("createRuntime", &hooks.create_runtime, &state)?)
    }

    /// The processes are whole, and held until we answer: the record is written before they run.
    fn adopt(&mut self, pid: i32) -> Result<(), RestoreError> {
        fail_point::reach("restore.processes-made");
        let init = Pid::from_raw(pid).ok_or(RestoreError::Nameless)?;
        self.init = Some(pidfd_open(init, PidfdFlags::empty()).attempt("open", "restored process")?);
        self.record.init = ProcessKey::of(pid).ok_or(RestoreError::Died)?;
        self.record.own_pids = self.config.linux.has_new(NamespaceKind::Pid);
        self.record.created = crate::timestamp::now();
        if self.config.linux.namespace(NamespaceKind::Time).is_none() && has_other_clocks(pid) {
            let config = Config::with_namespace(self.json, "time").map_err(RestoreError::Config)?;
            self.undo.folder().save_config(&config)?;
        }
        self.undo.folder().save(&self.record)?;
        fail_point::reach("restore.recorded");
        Ok(())
    }

    fn hand_over(&mut self, master: Option<OwnedFd>) -> Result<(), RestoreError> {
        match (&self.console, master) {
            (Some(Console::Socket(socket)), Some(master)) => {
                Ok(talk::send(socket.as_fd(), b"orphan-pts-master", Some(master.as_fd()))
                    .attempt("send", "terminal")?)
            }
            (Some(Console::Runtime(_)), master) => {
                self.terminal = master;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Launched, RestoreError> {
        let launched = Launched {
            folder: self.undo.folder().clone(),
            record: self.record,
            hooks: self.config.hooks.clone(),
            pidfd: self.init.ok_or(RestoreError::Nameless)?,
            streams: self.terminal.map_or(Streams::Callers, Streams::Terminal),
            notifications: None,
            net_devices: None,
        };
        fail_point::reach("restore.complete");
        self.undo.folder().container_is_made()?;
        self.undo.disarm();
        Ok(launched)
    }
}

/// Whether criu has given the process clocks of its own, so that they go on where they stood in the image.
fn has_other_clocks(pid: i32) -> bool {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/time")).ok();
    namespace(&pid.to_string()) != namespace("self")
}

/// The folder of a service's socket, where the image has one. Nobody listens there any more: the manager that the
/// service was started by is another one's.
fn give_socket(opts: &mut CriuOpts, folder: &Folder) {
    let mount = notify_socket::mount(folder.path());
    opts.ext_mnt.push(ExtMountMap {
        key: mount.destination,
        val: mount.source,
    });
}

/// Our standard streams in the place of those pipes that were the container's.
fn streams(images: &Path) -> Result<Vec<InheritFd>, RestoreError> {
    let path = images.join(DESCRIPTORS);
    let json = fs::read(&path).attempt("open", path.display())?;
    let names: Vec<String> = serde_json::from_slice(&json).map_err(|err| RestoreError::Descriptors(path, err))?;
    let pipes = (0..=2).zip(names).filter(|(_, name)| name.contains("pipe:"));
    Ok(pipes.map(|(fd, key)| InheritFd { key, fd }).collect())
}

/// Where the image's cgroups are to be: where criu itself is.
fn cgroup_roots(pid: i32) -> Result<Vec<CgroupRoot>, CallError> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).attempt("read", &path)?;
    let roots = text.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some(controllers.split(',').map(move |controller| CgroupRoot {
            ctrl: Some(controller.into()),
            path: path.into(),
        }))
    });
    Ok(roots.flatten().collect())
}
