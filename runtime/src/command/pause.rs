//! `pause` and `resume`: freezing a container's processes.

use davit_cgroup::Cgroup;

use super::{CommandError, id};
use crate::{
    cli::Target,
    container::{status::Status, store::Store},
};

pub(super) fn pause(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        Status::Created | Status::Running => Ok(Cgroup::from_paths(&record.cgroup_paths)?.freeze()?),
        status => Err(CommandError::State(format!(
            "container not running or created: {status}"
        ))),
    }
}

pub(super) fn resume(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        Status::Paused => Ok(Cgroup::from_paths(&record.cgroup_paths)?.thaw()?),
        _ => Err(CommandError::State("container not paused".into())),
    }
}
