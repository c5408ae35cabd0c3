//! `delete`: remove a container.

use super::{CommandError, id};
use crate::{
    cli::Delete,
    container::{
        cgroup::{self, CgroupChoice},
        destroy,
        id::ContainerId,
        status::Status,
        store::{Folder, Store, StoreError},
    },
    log,
};

pub(super) fn run(store: &Store, args: &Delete) -> Result<(), CommandError> {
    let id = id(&args.id)?;
    let (folder, record) = match store.find(&id) {
        Err(StoreError::Absent | StoreError::Damaged { .. }) if args.force => {
            return store.remains(&id).map_or(Ok(()), |folder| remove_remains(&folder, &id));
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

/// What a creation that was killed has left: a folder without a record, and perhaps a cgroup.
fn remove_remains(folder: &Folder, id: &ContainerId) -> Result<(), CommandError> {
    if let Ok(config) = folder.config()
        && let Err(err) = cgroup::plan(&config, id, CgroupChoice::default()).and_then(|cgroup| cgroup.destroy())
    {
        log::warn(&err.to_string());
    }
    Ok(folder.remove()?)
}
