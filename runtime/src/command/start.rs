//! `start`: let a created container's program run.

use super::{CommandError, id};
use crate::{
    cli::Target,
    container::record::Record,
    container::{
        destroy, start_gate,
        status::Status,
        store::{Folder, Store},
    },
    errno::Attempt,
    hooks,
    notify_socket::{self, NotifySocket},
    state,
    talk::{FromChild, ToChild},
};

pub(super) fn run(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    let connection = match Status::of(&folder, &record) {
        Status::Created => start_gate::approach(&folder).attempt("approach", "container init")?,
        Status::Stopped => return Err(CommandError::State("cannot start a container that has stopped".into())),
        Status::Running => None,
        Status::Paused => return Err(CommandError::State("cannot start a paused container".into())),
    };
    let connection =
        connection.ok_or_else(|| CommandError::State("cannot start an already running container".into()))?;
    let notifications = match notify_socket::manager() {
        Some(manager) => NotifySocket::listen(&folder, manager)?,
        None => None,
    };
    connection.order(ToChild::Go).attempt("start", "container init")?;
    if let Some(FromChild::Failed(text)) = connection.hear().attempt("hear", "container init")? {
        return Err(CommandError::Start(text));
    }
    start_gate::clear(&folder);
    poststart(&folder, &record)?;
    if let Some(notifications) = notifications
        && let Some(init) = record.init.open().attempt("open", "container init")?
    {
        notifications.forward_until_ready(record.init.pid, &init);
    }
    Ok(())
}

fn poststart(folder: &Folder, record: &Record) -> Result<(), CommandError> {
    let hooks = folder.config()?.hooks.poststart;
    if hooks.is_empty() {
        return Ok(());
    }
    let state = state::for_hook(record, record.init.pid, "running");
    if let Err(err) = hooks::run("poststart", &hooks, &state) {
        destroy::kill(record)?;
        return Err(err.into());
    }
    Ok(())
}
