//! `davit restart`

use bollard::query_parameters::RestartContainerOptions;

use crate::{client::container_name, command_error::CommandError, output, session::Session};

/// Stop containers and start them again
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal that asks the container to stop
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before it is killed; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    time: Option<i32>,
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Restarts containers, each on its own.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let options = RestartContainerOptions {
        signal: args.signal,
        t: args.time,
    };
    output::together(&args.containers, async |name| {
        session
            .docker()
            .restart_container(container_name(name)?, Some(options.clone()))
            .await?;
        Ok(Some(name.clone()))
    })
    .await
}
