//! Events that the manager has not acknowledged yet, in the bundle of their container: the shim may die before it can tell them.
//!
//! Each is a file in `<bundle>/events`, named by its time and removed with its acknowledgement. That of an exec's start then stays as
//! `running-<exec>` until the exec's exit is acknowledged. From both `delete` knows what a dead shim owes; what init's end is the
//! manager tells by itself, with the answer of `delete`.
//!
//! They are for the death of the shim, not of the machine: the manager has its journal for that.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use davit_shim_api::{
    Packed,
    forward::event::Envelope,
    task_events::task::{TaskDelete, TaskExecStarted, TaskExit},
};
use protobuf::Message;

/// The folder in the bundle.
const FOLDER: &str = "events";

const RUNNING: &str = "running-";

/// Seconds and nanoseconds.
pub type Time = (i64, i32);

/// When an event was published.
pub fn time_of(envelope: &Envelope) -> Time {
    let at = envelope.timestamp.get_or_default();
    (at.seconds, at.nanos)
}

/// An exec that a dead shim has told to be running.
#[derive(Debug)]
pub struct Running {
    /// The exec.
    pub exec: String,
    /// Its process.
    pub pid: u32,
    since: Time,
    path: PathBuf,
}

/// What a dead shim owes.
#[derive(Debug, Default)]
pub struct Owed {
    /// Events, from the oldest on.
    pub events: Vec<(PathBuf, Envelope)>,
    /// Execs whose end was not published.
    pub running: Vec<Running>,
    /// Their ends.
    pub ends: Vec<Envelope>,
}

/// Keeps an event until it is acknowledged.
pub fn keep(bundle: &Path, envelope: &Envelope) -> io::Result<()> {
    let folder = bundle.join(FOLDER);
    let path = folder.join(name(envelope));
    let bytes = envelope.write_to_bytes()?;
    match fs::write(&path, &bytes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir(folder)?;
            fs::write(&path, bytes)?;
        }
        written => written?,
    }
    Ok(())
}

/// The names of events have their order.
fn name(envelope: &Envelope) -> String {
    let (seconds, nanos) = time_of(envelope);
    format!("{seconds:020}.{nanos:09}")
}

/// The manager has taken an event. The bundle may be gone by now.
pub fn is_told(bundle: &Path, envelope: &Envelope) {
    let path = bundle.join(FOLDER).join(name(envelope));
    let running = |exec: &str| path.with_file_name(format!("{RUNNING}{exec}"));
    if let Some(started) = read::<TaskExecStarted>(envelope) {
        let _ = fs::rename(&path, running(&started.exec_id));
        return;
    }
    if let Some(exit) = read::<TaskExit>(envelope) {
        let _ = fs::remove_file(running(&exit.id));
    }
    let _ = fs::remove_file(path);
}

/// What the dead shim of this bundle owes, init's end excepted.
pub fn owed(bundle: &Path) -> io::Result<Owed> {
    let mut owed = Owed::default();
    let entries = match fs::read_dir(bundle.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(owed),
        entries => entries?,
    };
    let mut ended: HashMap<String, Time> = HashMap::new();
    for entry in entries {
        let path = entry?.path();
        let envelope = Envelope::parse_from_bytes(&fs::read(&path)?).unwrap_or_default();
        if let Some(started) = read::<TaskExecStarted>(&envelope) {
            owed.running.push(Running {
                exec: started.exec_id,
                pid: started.pid,
                since: time_of(&envelope),
                path: path.clone(),
            });
        }
        let exit = read::<TaskExit>(&envelope);
        if let Some(exit) = &exit {
            let last = ended.entry(exit.id.clone()).or_default();
            *last = time_of(&envelope).max(*last);
        }
        let is_of_init = exit.is_some_and(|exit| exit.id == exit.container_id);
        let is_told = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(RUNNING));
        // One without a topic is the empty file of a shim that died while it wrote.
        if !is_told && !is_of_init && !envelope.topic.is_empty() && read::<TaskDelete>(&envelope).is_none() {
            owed.events.push((path, envelope));
        }
    }
    // An id may have been used again.
    owed.running
        .retain(|running| ended.get(&running.exec).is_none_or(|ended| *ended < running.since));
    owed.events.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(owed)
}

impl Owed {
    /// All of it, in order.
    pub fn envelopes(&self) -> Vec<Envelope> {
        let events = self.events.iter().map(|(_, envelope)| envelope);
        events.chain(&self.ends).cloned().collect()
    }

    /// All of it was told.
    pub fn is_told(self) {
        let running = self.running.into_iter().map(|running| running.path);
        // Whatever is left goes with the bundle.
        self.events
            .into_iter()
            .map(|(path, _)| path)
            .chain(running)
            .for_each(|path| drop(fs::remove_file(path)));
    }
}

/// The event, if it is of this kind.
fn read<M: Packed>(envelope: &Envelope) -> Option<M> {
    let event = envelope.event.as_ref()?;
    (event.type_url == M::FULL_NAME)
        .then(|| M::parse_from_bytes(&event.value).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use davit_shim_api::pack;
    use protobuf::well_known_types::timestamp::Timestamp;

    use super::*;

    fn envelope<M: Packed>(seconds: i64, event: &M) -> Envelope {
        Envelope {
            timestamp: Some(Timestamp {
                seconds,
                ..Default::default()
            })
            .into(),
            topic: "/t".into(),
            event: Some(pack(event)).into(),
            ..Default::default()
        }
    }

    fn started(exec: &str) -> TaskExecStarted {
        TaskExecStarted {
            container_id: "c".into(),
            exec_id: exec.into(),
            pid: 7,
            ..Default::default()
        }
    }

    fn exit(id: &str) -> TaskExit {
        TaskExit {
            container_id: "c".into(),
            id: id.into(),
            ..Default::default()
        }
    }

    fn seconds_and_running(bundle: &Path) -> (Vec<i64>, Vec<String>) {
        let owed = owed(bundle).unwrap();
        let seconds = owed.events.iter().map(|(_, envelope)| envelope.timestamp.seconds);
        (
            seconds.collect(),
            owed.running.into_iter().map(|running| running.exec).collect(),
        )
    }

    #[test]
    fn what_was_told_is_owed_no_more_and_an_exec_that_was_told_to_run_owes_its_end() {
        let bundle = tempfile::tempdir().unwrap();
        let bundle = bundle.path();
        assert_eq!(seconds_and_running(bundle), (vec![], vec![]));
        let (start, end) = (envelope(10, &started("e")), envelope(11, &exit("e")));
        keep(bundle, &start).unwrap();
        assert_eq!(seconds_and_running(bundle), (vec![10], vec!["e".into()]));
        is_told(bundle, &start);
        assert_eq!(seconds_and_running(bundle), (vec![], vec!["e".into()]));
        keep(bundle, &end).unwrap();
        assert_eq!(seconds_and_running(bundle), (vec![11], vec![]));
        assert_eq!(seconds_and_running(bundle), (vec![11], vec![]));
        keep(bundle, &envelope(12, &started("e"))).unwrap();
        assert_eq!(seconds_and_running(bundle), (vec![11, 12], vec!["e".into()]));
        is_told(bundle, &end);
        keep(bundle, &envelope(13, &exit("e"))).unwrap();
        assert_eq!(seconds_and_running(bundle), (vec![12, 13], vec![]));
    }

    #[test]
    fn the_end_of_init_is_for_the_manager_to_tell() {
        let bundle = tempfile::tempdir().unwrap();
        keep(bundle.path(), &envelope(2, &exit("c"))).unwrap();
        keep(bundle.path(), &envelope(3, &TaskDelete::new())).unwrap();
        keep(bundle.path(), &envelope(1, &exit("e"))).unwrap();
        fs::write(bundle.path().join("events/torn"), "").unwrap();
        assert_eq!(seconds_and_running(bundle.path()), (vec![1], vec![]));
    }
}
