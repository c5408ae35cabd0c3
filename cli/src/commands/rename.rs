//! `davit rename`

use bollard::query_parameters::RenameContainerOptions;

use crate::{client::container_name, command_error::CommandError, session::Session};

/// Give a container another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Container
    container: String,
    /// Its new name
    new_name: String,
}

/// Renames a container.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    if args.new_name.trim_matches('/').is_empty() {
        return Err(CommandError::user("neither old nor new names may be empty"));
    }
    let options = RenameContainerOptions { name: args.new_name };
    Ok(session
        .docker()
        .rename_container(container_name(&args.container)?, options)
        .await?)
}
