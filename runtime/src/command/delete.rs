//! `delete`: remove a container.

use std::time::Duration;

use super::{CommandError, id};
use crate::{
    cli::Delete,
    container::{
        destroy,
        record::Record,
        status::Status,
        store::{Claim, Folder, Store, StoreError},
    },
    fail_point,
};

/// How long whoever makes a container may go on with it when it is to be removed by force.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(store: &Store, args: &Delete) -> Result<(), CommandError> {
    let id = id(&args.id)?;
    let folder = match store.remains(&id)? {
        Some(folder) => folder,
        None if args.force => return Ok(()),
        None => return Err(StoreError::Absent.into()),
    };
    match store.find(&id) {
        Ok((_, record)) => end(&folder, &record, args.force)?,
        Err(StoreError::Absent | StoreError::Damaged { .. }) if args.force => {}
        Err(err) => return Err(err.into()),
    }
    fail_point::reach("delete.ended");
    if !folder.path().is_dir() {
        return Ok(folder.remove()?);
    }
    // Not before its end: whoever makes it is then done with it, too.
    let Some(claim) = claim(&folder, args.force)? else {
        return Ok(());
    };
    match store.find(&id) {
        Ok((_, record)) => {
            end(&folder, &record, args.force)?;
            let hooks = folder.config().map(|config| config.hooks).unwrap_or_default();
            Ok(destroy::remove(&claim, &folder, &record, &hooks)?)
        }
        Err(_) => Ok(destroy::remove_remains(&claim, &folder)?),
    }
}

/// By force the container is taken from a maker who does not come to an end, too.
fn claim(folder: &Folder, force: bool) -> Result<Option<Claim>, CommandError> {
    if !force {
        return Ok(folder.claim()?);
    }
    match folder.claim_within(PATIENCE) {
        Err(StoreError::Claimed(_)) => {
            destroy::end_making(folder)?;
            Ok(folder.claim()?)
        }
        claimed => Ok(claimed?),
    }
}

/// Kills a container that may be killed.
fn end(folder: &Folder, record: &Record, force: bool) -> Result<(), CommandError> {
    match Status::of(folder, record) {
        // criu has not named a first process yet, and may never do so.
        Status::Stopped if force && record.init.pid == 0 => Ok(destroy::kill(record)?),
        Status::Stopped => Ok(()),
        Status::Created => Ok(destroy::kill(record)?),
        _ if force => Ok(destroy::kill(record)?),
        status => Err(CommandError::State(format!(
            "cannot delete container {} that is not stopped: {status}",
            record.id
        ))),
    }
}
