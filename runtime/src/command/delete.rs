//! `delete`: remove a container.

use super::{CommandError, id};
use crate::{
    cli::Delete,
    container::{
        destroy,
        status::Status,
        store::{Store, StoreError},
    },
};

pub(super) fn run(store: &Store, args: &Delete) -> Result<(), CommandError> {
    let id = id(&args.id)?;
    let (folder, record) = match store.find(&id) {
        // A creation that was killed leaves a folder without a record.
        Err(StoreError::Absent | StoreError::Damaged { .. }) if args.force => {
            return Ok(store.remains(&id).map_or(Ok(()), |folder| folder.remove())?);
        }
        found => found?,
    };
    match Status::of(&folder, &record) {
        Status::Stopped => {}
        Status::Created => destroy::kill(&record)?,
        _ if args.force => destroy::kill(&record)?,
        status => {
            return Err(CommandError::State(format!(
                "cannot delete container {id} that is not stopped: {status}"
            )));
        }
    }
    Ok(destroy::remove(&folder, &record)?)
}
