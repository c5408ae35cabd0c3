//! `davit kill`

use bollard::query_parameters::KillContainerOptions;

use crate::{client::container_name, command_error::CommandError, output, session::Session};

/// Send a signal to containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Signals containers, each on its own.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let options = KillContainerOptions { signal: args.signal };
    output::together(&args.containers, async |name| {
        session
            .docker()
            .kill_container(container_name(name)?, Some(options.clone()))
            .await?;
        Ok(Some(name.clone()))
    })
    .await
}
