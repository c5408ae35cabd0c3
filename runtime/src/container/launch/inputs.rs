//! What a new container is made from: its config, and what the command line adds.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use davit_seccomp::{Program as Filter, SeccompError, compile_cached};
use davit_spec::Config;
use rustix::process::geteuid;

use super::{Launch, LaunchError};
use crate::{
    console_socket,
    container::{
        id::ContainerId,
        store::{Folder, Store},
    },
    errno::{Attempt, CallError},
    inherited,
    intel_rdt::{IntelRdtError, Membership, Resctrl},
    log,
    namespaces::{self, Shared},
    notify_socket::{self, NotifySocket},
    program::{
        Inheritance, capabilities,
        landlock::Landlock,
        limits, selinux,
        terminal::{Console, callers_size},
    },
    rootless::{self, is_rootless},
};

pub(in crate::container) fn read_config(path: &Path) -> Result<(Config, Vec<u8>), LaunchError> {
    let json = match fs::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Err(LaunchError::NoConfig(path.into())),
        json => json.attempt("read", path.display())?,
    };
    let config = Config::parse(&json).and_then(|config| config.validate().map(|()| config));
    let config = config.map_err(|cause| LaunchError::Config {
        path: path.into(),
        cause,
    })?;
    rootless::check(&config)?;
    if let Some(process) = &config.process {
        selinux::check(&process.selinux_label)?;
    }
    if let Some(sets) = config
        .process
        .as_ref()
        .and_then(|process| process.capabilities.as_ref())
    {
        capabilities::warn(sets);
    }
    limits::warn_of_flags(config.linux.personality.as_ref());
    Ok((config, json))
}

pub(in crate::container) fn console(config: &Config, launch: &Launch) -> Result<Option<Console>, LaunchError> {
    let terminal = config.process.as_ref().is_some_and(|process| process.terminal);
    match (&launch.console_socket, terminal) {
        (Some(path), true) => Ok(Some(Console::Socket(console_socket::connect(path)?))),
        (Some(_), false) => Err(LaunchError::NoTerminal),
        (None, true) if launch.foreground => Ok(Some(Console::Runtime(callers_size()?))),
        (None, true) => Err(LaunchError::NoConsoleSocket),
        (None, false) => Ok(None),
    }
}

pub(in crate::container) fn rootfs(config: &Config, bundle: &Path) -> Result<PathBuf, LaunchError> {
    let root = config.root.as_ref().expect("validation has asked for a root");
    // An absolute one may lead through links, which only the kernel knows.
    let path = match root.path.is_absolute() {
        true => root.path.clone(),
        false => without_detours(&bundle.join(&root.path)),
    };
    let metadata = fs::metadata(&path)
        .attempt("stat", path.display())
        .map_err(LaunchError::Rootfs)?;
    match metadata.is_dir() {
        true => Ok(path),
        false => Err(rustix::io::Errno::NOTDIR)
            .attempt("open", path.display())
            .map_err(LaunchError::Rootfs),
    }
}

/// A path without `.` and `..`, as runc and whoever compares paths have it. Links are not followed.
fn without_detours(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

pub(super) fn inheritance(config: &Config, launch: &Launch, store: &Store) -> Result<Inheritance, LaunchError> {
    let (extra_fds, listen_fds) = inherited::count(launch.preserve_fds, |name| env::var(name).ok())?;
    Ok(Inheritance {
        seccomp: filter(config, store)?,
        landlock: Landlock::of(&config.annotations)?,
        runtime_may_fetch: geteuid().is_root(),
        extra_fds,
        listen_fds,
        streams: None,
        keep_groups: is_rootless(),
    })
}

/// The container's filter, compiled or from the store.
pub fn filter(config: &Config, store: &Store) -> Result<Option<Filter>, SeccompError> {
    let Some(profile) = &config.linux.seccomp else {
        return Ok(None);
    };
    let filter = compile_cached(profile, &store.filters())?;
    log::debug(format_args!("seccomp filter flags: {}", filter.options()));
    Ok(Some(filter))
}

/// The namespaces that the container is to share.
pub(super) fn shared(config: &Config, launch: &Launch) -> Result<Vec<Shared>, LaunchError> {
    let shared = namespaces::open_shared(&config.linux)?;
    if config.linux.sysctl.is_empty() {
        return Ok(shared);
    }
    for kind in namespaces::own_among(&shared)? {
        let refused = davit_spec::refuse_sysctls_in_hosts(&config.linux, kind);
        refused.map_err(|cause| LaunchError::Config {
            path: launch.config.clone(),
            cause,
        })?;
    }
    Ok(shared)
}

/// Where a service in the container speaks to the caller's `manager`, if there is one: furnished for all, listened at
/// where the program is executed at once.
pub(super) fn notifications(
    manager: Option<OsString>,
    folder: &Folder,
    launch: &Launch,
) -> Result<Option<NotifySocket>, CallError> {
    let Some(manager) = manager else {
        return Ok(None);
    };
    notify_socket::make_folder(folder)?;
    match launch.wait_for_start {
        true => Ok(None),
        false => NotifySocket::listen(folder, manager),
    }
}

/// The container's place in resctrl, if it is to have one.
pub(in crate::container) fn membership(config: &Config, id: &ContainerId) -> Result<Option<Membership>, IntelRdtError> {
    let Some(wanted) = &config.linux.intel_rdt else {
        return Ok(None);
    };
    let resctrl = Resctrl::mounted().ok_or(IntelRdtError::Disabled)?;
    resctrl.plan(wanted, id.as_str()).map(Some)
}
