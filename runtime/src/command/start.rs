//! `start`: let a created container's program run.

use super::{CommandError, id};
use crate::{
    cli::Target,
    container::record::Record,
    container::{
        destroy,
        hearing::{self, HearError},
        process::has_executed,
        start_gate,
        status::Status,
        store::{Folder, Store},
    },
    errno::Attempt,
    fail_point, hooks, log,
    notify_socket::{self, NotifySocket},
    state,
    talk::{Channel, FromChild, ToChild},
};

const ALREADY_RUNNING: &str = "cannot start an already running container";
const DIED: &str = "container init died without a word (killed, or out of memory?)";
const OOM_KILLED: &str = "container init was OOM-killed (memory limit too low?)";
const HAS_STOPPED: &str = "cannot start a container that has stopped";

pub(super) fn run(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        Status::Created => {}
        Status::Creating => {
            return Err(CommandError::State(
                "cannot start a container that is still being created".into(),
            ));
        }
        Status::Stopped => return Err(CommandError::State(HAS_STOPPED.into())),
        Status::Running => return Err(CommandError::State(ALREADY_RUNNING.into())),
        Status::Paused => {
            return Err(CommandError::State(
                "cannot start a container in the paused state".into(),
            ));
        }
    }
    let connection = start_gate::approach(&folder).attempt("approach", "container init")?;
    let connection = connection.ok_or_else(|| too_late(&record))?;
    let notifications = match notify_socket::manager() {
        Some(manager) => NotifySocket::listen(&folder, manager)?,
        None => None,
    };
    fail_point::reach("start.connected");
    open(&connection, &record)?;
    fail_point::reach("start.executed");
    start_gate::clear(&folder);
    poststart(&folder, &record)?;
    if let Some(notifications) = notifications
        && let Some(init) = record.init.open().attempt("open", "container init")?
    {
        notifications.forward_until_ready(record.init.pid, &init);
    }
    Ok(())
}

/// Says the word, and returns when the program is executed.
fn open(connection: &Channel, record: &Record) -> Result<(), CommandError> {
    // Who is the second to say it finds the gate closed, now or later.
    if connection.order(ToChild::Go).is_err() {
        return Err(too_late(record));
    }
    fail_point::reach("start.ordered");
    if !matches!(hear(connection, record)?, Some(FromChild::Ready)) {
        return Err(too_late(record));
    }
    match hear(connection, record)? {
        Some(FromChild::Failed(text)) => Err(CommandError::Start(text)),
        None if has_executed(record.init.pid) == Some(false) => Err(CommandError::Start(cause_of_death(record).into())),
        _ => Ok(()),
    }
}

/// What is known of a first process that died on its way to the program.
fn cause_of_death(record: &Record) -> &'static str {
    match record.cgroup() {
        Ok(cgroup) if cgroup.oom_kills() > record.earlier_oom_kills => OOM_KILLED,
        _ => DIED,
    }
}

fn too_late(record: &Record) -> CommandError {
    CommandError::State(match record.init.is_alive() {
        true => ALREADY_RUNNING.into(),
        false => HAS_STOPPED.into(),
    })
}

/// What the container says next.
fn hear(connection: &Channel, record: &Record) -> Result<Option<FromChild>, CommandError> {
    hearing::hear(connection, record).map_err(|err| match err {
        HearError::HeldUp { .. } => CommandError::State(format!(
            "cannot start container {}: {err}; let it run on, or remove it with delete --force",
            record.id
        )),
        HearError::Call(err) => err.into(),
    })
}

fn poststart(folder: &Folder, record: &Record) -> Result<(), CommandError> {
    let hooks = folder.config()?.hooks.poststart;
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state::for_hook(record, record.init.pid, "running")?;
    if let Err(err) = hooks::run("poststart", &hooks, &state) {
        if let Err(kept) = destroy::kill(record) {
            log::warn(&kept.to_string());
        }
        return Err(err.into());
    }
    Ok(())
}
