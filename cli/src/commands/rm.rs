//! `davit rm`

use bollard::query_parameters::RemoveContainerOptions;

use crate::{client::container_name, command_error::CommandError, output, session::Session};

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes, too
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Removes containers, each on its own.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let options = RemoveContainerOptions {
        v: args.volumes,
        force: args.force,
        link: false,
    };
    output::together(&args.containers, async |name| {
        match session
            .docker()
            .remove_container(container_name(name)?, Some(options.clone()))
            .await
            .map_err(CommandError::from)
        {
            // Whoever forces wants it gone, and it is.
            Err(error) if args.force && error.is_not_found() => {
                output::note(format_args!("davit: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Some(name.clone())),
        }
    })
    .await
}
