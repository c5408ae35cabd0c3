//! `pause` and `resume`: freezing a container's processes.

use super::{CommandError, id};
use crate::{
    cli::Target,
    container::{status::Status, store::Store},
};

pub(super) fn pause(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        Status::Created | Status::Running => Ok(record.cgroup()?.freeze()?),
        status => Err(CommandError::State(format!(
            "container not running or created: {status}"
        ))),
    }
}

pub(super) fn resume(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        Status::Paused => Ok(record.cgroup()?.thaw()?),
        _ => Err(CommandError::State("container not paused".into())),
    }
}
