//! The systemd driver: a container's cgroup as a transient unit.
//!
//! systemd makes the directory when the unit starts, and needs a process for that: the container's first one is forked
//! outside, waits, and is moved by systemd. The limits are handed to systemd as properties and written to the files
//! as well, for there are more of them than properties. With `Delegate` the directory and what is below is ours.
//!
//! Each use opens a connection of its own and closes it; nothing of it outlives a command.

mod annotation;
mod bus;
mod dbus;
mod device_properties;
mod properties;
mod unit;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use oci_spec::runtime::LinuxResources;

pub use self::unit::Unit;
use self::{
    bus::Systemd,
    dbus::{BusError, Value},
    properties::{Property, add},
};
use crate::{Result, Version};

/// What can go wrong with systemd.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// The machine runs another init.
    #[error("systemd cgroup flag passed, but systemd support for managing cgroups is not available")]
    NotRunning,
    /// A user's systemd cannot be found.
    #[error(
        "cannot find the user's bus: DBUS_SESSION_BUS_ADDRESS is not set and there is no $XDG_RUNTIME_DIR/bus (is dbus-user-session installed, and are you logged in?)"
    )]
    NoUserBus,
    /// `linux.cgroupsPath` in another form.
    #[error("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {0:?} instead")]
    Path(String),
    /// No name of a slice.
    #[error("invalid slice name: {0}")]
    Slice(String),
    /// An annotation that is no property.
    #[error("annotation {key}={value:?}: {problem}")]
    Annotation {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// systemd cannot be reached, or refuses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A job of systemd did not end well.
    #[error("systemd job for unit {unit:?}: got {result:?}")]
    Job {
        /// The unit.
        unit: String,
        /// What systemd says.
        result: String,
    },
    /// A job of systemd does not end.
    #[error("systemd did not end its job within {} seconds", .0.as_secs())]
    JobTimeout(Duration),
    /// Starting a unit.
    #[error("unable to start unit {unit:?}: {cause}")]
    Start {
        /// The unit.
        unit: String,
        /// Why not.
        cause: Box<SystemdError>,
    },
    /// Changing a unit.
    #[error("unable to set unit properties of {unit:?}: {cause}")]
    Set {
        /// The unit.
        unit: String,
        /// Why not.
        cause: Box<SystemdError>,
    },
}

/// Refuses a machine that systemd does not run; where it does, every program may look here (`sd_booted(3)`).
pub(crate) fn check_running() -> Result<()> {
    match fs::symlink_metadata("/run/systemd/system") {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        _ => Err(SystemdError::NotRunning.into()),
    }
}

/// The unit's directory, counted from the root of a hierarchy.
pub(crate) fn directory(unit: &Unit) -> Result<String> {
    let below = unit.directory()?;
    if !unit.user {
        return Ok(format!("/{below}"));
    }
    let manager = Systemd::connect(true).and_then(|mut systemd| Ok(systemd.control_group()?))?;
    Ok(format!("{manager}/{below}"))
}

/// The properties that a config's annotations name.
pub(crate) fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<()> {
    annotation::properties(annotations)?;
    Ok(())
}

/// Starts the unit with the process `pid` in it. When this returns, the process has been moved.
pub(crate) fn start(
    unit: &Unit,
    pid: i32,
    resources: &LinuxResources,
    version: Version,
    annotations: &BTreeMap<String, String>,
) -> Result<()> {
    let started = reconnecting(unit.user, |systemd| {
        let mut wanted = frame(unit, pid, version);
        let limits = properties::of(resources, version, systemd.version(), true);
        wanted.extend(limits.map_err(Failure::Limit)?);
        wanted.extend(annotation::properties(annotations)?);
        match systemd.start(&unit.name, &wanted) {
            Err(err @ SystemdError::Job { .. }) => Err(err.into()),
            // The answer was lost, not the deed: the bus may have been restarted in between.
            Err(_) if is_inside(pid, unit) => Ok(()),
            result => Ok(result?),
        }
    });
    started.map_err(|failure| {
        failure.named(|cause| SystemdError::Start {
            unit: unit.name.clone(),
            cause,
        })
    })
}

/// Whether a unit could not be started because there is one of its name.
pub(crate) fn is_taken(err: &crate::CgroupError) -> bool {
    match err {
        crate::CgroupError::Systemd(SystemdError::Start { cause, .. }) => {
            matches!(&**cause, SystemdError::Bus(err) if err.is(bus::UNIT_EXISTS))
        }
        _ => false,
    }
}

/// What a unit is, limits aside.
fn frame(unit: &Unit, pid: i32, version: Version) -> Vec<Property> {
    let mut frame = Vec::new();
    add(
        &mut frame,
        "Description",
        Value::text(format!("container {}", unit.name)),
    );
    match unit.is_slice() {
        true => add(
            &mut frame,
            "Wants",
            Value::Array("s".into(), vec![Value::text(unit.slice.as_str())]),
        ),
        false => {
            add(&mut frame, "Slice", Value::text(unit.slice.as_str()));
            add(&mut frame, "Delegate", Value::Bool(true));
        }
    }
    add(
        &mut frame,
        "PIDs",
        Value::Array("u".into(), vec![Value::U32(pid as u32)]),
    );
    let io = match version {
        Version::V1 => "BlockIOAccounting",
        Version::V2 => "IOAccounting",
    };
    for accounting in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
        add(&mut frame, accounting, Value::Bool(true));
    }
    add(&mut frame, "DefaultDependencies", Value::Bool(false));
    frame
}

/// Whether a process is in the unit's cgroup.
fn is_inside(pid: i32, unit: &Unit) -> bool {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let directory = |line: &str| {
        Path::new(line)
            .file_name()
            .is_some_and(|name| name.to_str() == Some(&unit.name))
    };
    cgroups
        .lines()
        .filter(|line| line.starts_with("0::") || line.contains(":name=systemd:"))
        .any(directory)
}

/// Limits as systemd knows them.
#[derive(Debug, Default)]
pub(crate) struct Limits(Vec<Property>);

/// What the unit's limits are that [`update`] would change with these.
pub(crate) fn limits(unit: &Unit, resources: &LinuxResources, version: Version) -> Result<Limits> {
    talk(unit, |systemd| {
        let wanted = properties::of(resources, version, systemd.version(), false).map_err(Failure::Limit)?;
        if wanted.is_empty() {
            return Ok(Limits::default());
        }
        let names = wanted.iter().map(|(name, _)| name.as_str());
        Ok(Limits(systemd.limits(unit, names)?))
    })
}

/// Changes the limits of a unit that runs, but not its rules for devices.
pub(crate) fn update(unit: &Unit, resources: &LinuxResources, version: Version) -> Result<()> {
    talk(unit, |systemd| {
        let wanted = properties::of(resources, version, systemd.version(), false);
        set(systemd, unit, &wanted.map_err(Failure::Limit)?)
    })
}

/// Gives a unit that runs the limits that it had.
pub(crate) fn put_back(unit: &Unit, limits: &Limits) -> Result<()> {
    talk(unit, |systemd| set(systemd, unit, &limits.0))
}

fn set(systemd: &mut Systemd, unit: &Unit, wanted: &[Property]) -> std::result::Result<(), Failure> {
    match wanted {
        [] => Ok(()),
        wanted => Ok(systemd.set_properties(&unit.name, wanted)?),
    }
}

/// Talks about the limits of a unit that runs.
fn talk<T>(unit: &Unit, act: impl Fn(&mut Systemd) -> std::result::Result<T, Failure>) -> Result<T> {
    reconnecting(unit.user, act).map_err(|failure| {
        failure.named(|cause| SystemdError::Set {
            unit: unit.name.clone(),
            cause,
        })
    })
}

/// Stops the unit and lets systemd forget it. One that is gone is no error.
pub(crate) fn stop(unit: &Unit) -> Result<()> {
    reconnecting(unit.user, |systemd| Ok(systemd.stop(&unit.name)?)).map_err(|failure| failure.named(|cause| *cause))
}

/// Moves a process into a unit that runs, for a caller who may not do so himself.
pub(crate) fn attach(unit: &Unit, pid: i32) -> Result<()> {
    reconnecting(unit.user, |systemd| Ok(systemd.attach(&unit.name, pid)?))
        .map_err(|failure| failure.named(|cause| *cause))
}

/// The limits as systemd rounds them, for the files.
pub(crate) fn rounded(resources: &LinuxResources) -> LinuxResources {
    let mut resources = resources.clone();
    if let Some(mut cpu) = resources.cpu().clone()
        && let Some(quota) = cpu.quota()
    {
        cpu.set_quota(Some(properties::rounded_quota(quota, cpu.period())));
        resources.set_cpu(Some(cpu));
    }
    resources
}

/// What ends the talk with systemd: its doing, or a limit that never was one.
enum Failure {
    Systemd(SystemdError),
    Limit(crate::CgroupError),
}

impl Failure {
    fn named(self, name: impl FnOnce(Box<SystemdError>) -> SystemdError) -> crate::CgroupError {
        match self {
            Failure::Systemd(cause) => name(Box::new(cause)).into(),
            Failure::Limit(err) => err,
        }
    }
}

impl From<SystemdError> for Failure {
    fn from(err: SystemdError) -> Self {
        Failure::Systemd(err)
    }
}

impl From<BusError> for Failure {
    fn from(err: BusError) -> Self {
        Failure::Systemd(err.into())
    }
}

/// Connects and acts; once more where the bus was restarted under our hands.
fn reconnecting<T>(
    user: bool,
    act: impl Fn(&mut Systemd) -> std::result::Result<T, Failure>,
) -> std::result::Result<T, Failure> {
    match act(&mut Systemd::connect(user)?) {
        Err(Failure::Systemd(SystemdError::Bus(BusError::Closed))) => act(&mut Systemd::connect(user)?),
        result => result,
    }
}
