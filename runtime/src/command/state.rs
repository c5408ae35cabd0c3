//! `state`: what the specification calls the state of a container.

use super::{CommandError, id, print};
use crate::{
    cli::Target,
    container::{status::Status, store::Store},
    state::{StateError, document},
};

pub(super) fn run(store: &Store, args: &Target) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    let status = Status::of(&folder, &record);
    let name = status.to_string();
    let json = serde_json::to_string_pretty(&document(&record, status, &name, "")).map_err(StateError::from)?;
    Ok(print(&format!("{json}\n"))?)
}
