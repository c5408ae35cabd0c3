//! systemd's manager, as far as units are started, changed and stopped through it.

use std::time::{Duration, Instant};

use super::{
    SystemdError, Unit,
    dbus::{Answer, BusError, Call, Connection, Value, address},
    properties::Property,
};

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";
const SLICE: &str = "org.freedesktop.systemd1.Slice";
/// systemd's own socket, which root reaches it at without a bus.
const PRIVATE_SOCKET: &str = "unix:path=/run/systemd/private";
const JOB_REMOVED: &str = "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',\
                           interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// What systemd says to a name that is taken.
pub(super) const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// What an overloaded bus or manager answers; the same call may succeed a moment later.
const TRY_AGAIN: [&str; 2] = ["System.Error.EAGAIN", "org.freedesktop.DBus.Error.LimitsExceeded"];
const PAUSE: Duration = Duration::from_millis(50);

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// An answer, which systemd gives at once unless it is overloaded or dead.
    pub answer: Duration,
    /// The end of a job, which may have to wait for other jobs.
    pub job: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            answer: Duration::from_secs(10),
            job: Duration::from_secs(30),
        }
    }
}

/// A connection to systemd.
pub(super) struct Systemd {
    connection: Connection,
    patience: Patience,
    version: Option<u32>,
}

impl Systemd {
    /// Connects to the machine's systemd, or to the calling user's.
    pub(super) fn connect(user: bool) -> Result<Self, SystemdError> {
        let patience = Patience::default();
        if user {
            let address = address::user().ok_or(SystemdError::NoUserBus)?;
            return Ok(Self::over_bus(&address, patience)?);
        }
        Self::over_bus(&address::system(), patience).or_else(|err| match err {
            BusError::Connect { .. } => Self::direct(PRIVATE_SOCKET, patience).map_err(|_| SystemdError::Bus(err)),
            other => Err(other.into()),
        })
    }

    /// Through a bus and its daemon.
    pub(super) fn over_bus(address: &str, patience: Patience) -> Result<Self, BusError> {
        let mut connection = Connection::open(address, patience.answer)?;
        connection.hello(patience.answer)?;
        // Before the first job is asked for, or its end could be missed.
        connection.listen_for(JOB_REMOVED, patience.answer)?;
        let mut systemd = Systemd {
            connection,
            patience,
            version: None,
        };
        systemd.manager("Subscribe", Vec::new())?;
        Ok(systemd)
    }

    fn direct(address: &str, patience: Patience) -> Result<Self, BusError> {
        Ok(Systemd {
            connection: Connection::open(address, patience.answer)?,
            patience,
            version: None,
        })
    }

    /// systemd's version: 252. Unknown is 0, which gets none of the newer properties.
    pub(super) fn version(&mut self) -> u32 {
        if let Some(version) = self.version {
            return version;
        }
        let version = self.property("Version").ok().and_then(|text| parse_version(&text));
        *self.version.insert(version.unwrap_or_default())
    }

    /// The cgroup that the manager itself lives in; units of a user's systemd lie below it.
    pub(super) fn control_group(&mut self) -> Result<String, BusError> {
        self.property("ControlGroup")
    }

    /// Starts a transient unit, and waits until it has started.
    pub(super) fn start(&mut self, unit: &str, properties: &[Property]) -> Result<(), SystemdError> {
        let arguments = vec![
            Value::text(unit),
            Value::text("replace"),
            list(properties),
            Value::Array("(sa(sv))".into(), Vec::new()),
        ];
        let mut answer = self.manager("StartTransientUnit", arguments.clone());
        if matches!(&answer, Err(err) if err.is(UNIT_EXISTS)) {
            // A failed unit of that name may be left; it goes away once it is reset.
            let _ = self.reset_failed(unit);
            answer = self.manager("StartTransientUnit", arguments);
        }
        match self.outcome(&answer?)?.as_str() {
            "done" => Ok(()),
            result => {
                let _ = self.reset_failed(unit);
                Err(SystemdError::Job {
                    unit: unit.into(),
                    result: result.into(),
                })
            }
        }
    }

    /// Stops a unit, and waits until it has stopped. One that is gone is no error.
    pub(super) fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        let arguments = vec![Value::text(unit), Value::text("replace")];
        let stopped = match self.manager("StopUnit", arguments) {
            Err(err) if err.is("org.freedesktop.systemd1.NoSuchUnit") => Ok(()),
            Err(err) => Err(err.into()),
            Ok(job) => self.outcome(&job).map(drop),
        };
        // A failed unit stays, and keeps its name, until it is reset.
        let _ = self.reset_failed(unit);
        stopped
    }

    fn reset_failed(&mut self, unit: &str) -> Result<(), BusError> {
        self.manager("ResetFailedUnit", vec![Value::text(unit)]).map(drop)
    }

    /// Changes a unit until it stops.
    pub(super) fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<(), BusError> {
        let arguments = vec![Value::text(unit), Value::Bool(true), list(properties)];
        self.manager("SetUnitProperties", arguments).map(drop)
    }

    /// The limits of a unit that have these names. What an older systemd does not have is left out.
    pub(super) fn limits<'a>(
        &mut self,
        unit: &Unit,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<Property>, BusError> {
        let path = self.manager("GetUnit", vec![Value::text(&unit.name)])?;
        let interface = if unit.is_slice() { SLICE } else { SCOPE };
        let mut limits = Vec::new();
        for name in names {
            match self.get(&path, interface, name).and_then(|answer| answer.limit()) {
                Ok(limit) => limits.push((name.into(), limit)),
                Err(BusError::Refused { .. }) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(limits)
    }

    /// Moves a process into a unit.
    pub(super) fn attach(&mut self, unit: &str, pid: i32) -> Result<(), BusError> {
        let pids = Value::Array("u".into(), vec![Value::U32(pid as u32)]);
        let arguments = vec![Value::text(unit), Value::text(""), pids];
        self.manager("AttachProcessesToUnit", arguments).map(drop)
    }

    /// The result of a job: `done`, `failed`, `timeout`, `canceled`, …
    fn outcome(&mut self, job: &str) -> Result<String, SystemdError> {
        let deadline = Instant::now() + self.patience.job;
        loop {
            let signal = match self.connection.signal(deadline) {
                Err(BusError::Silent(_)) => return Err(SystemdError::JobTimeout(self.patience.job)),
                signal => signal?,
            };
            let removed = signal.is(MANAGER, "JobRemoved").then(|| signal.removed_job()).flatten();
            if let Some((removed, result)) = removed
                && removed == job
            {
                return Ok(result);
            }
        }
    }

    /// Calls a method of the manager; the answer is its text, if it has one.
    fn manager(&mut self, member: &str, arguments: Vec<Value>) -> Result<String, BusError> {
        let call = Call {
            destination: SERVICE,
            path: OBJECT,
            interface: MANAGER,
            member,
            arguments,
        };
        let deadline = Instant::now() + self.patience.answer;
        loop {
            match self.connection.call(&call, self.patience.answer) {
                Err(err) if TRY_AGAIN.iter().any(|name| err.is(name)) && Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                answer => return Ok(answer?.text().unwrap_or_default()),
            }
        }
    }

    fn property(&mut self, name: &str) -> Result<String, BusError> {
        self.get(OBJECT, MANAGER, name)?.property()
    }

    fn get(&mut self, path: &str, interface: &str, name: &str) -> Result<Answer, BusError> {
        let call = Call {
            destination: SERVICE,
            path,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            arguments: vec![Value::text(interface), Value::text(name)],
        };
        self.connection.call(&call, self.patience.answer)
    }
}

fn list(properties: &[Property]) -> Value {
    let each = |(name, value): &Property| Value::Struct(vec![Value::text(name), Value::variant(value.clone())]);
    Value::Array("(sv)".into(), properties.iter().map(each).collect())
}

/// `252.38-1~deb12u1`, `v245.4-1.fc32`, `249`
fn parse_version(text: &str) -> Option<u32> {
    let text = text.trim_start_matches(['"', 'v']);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests;
