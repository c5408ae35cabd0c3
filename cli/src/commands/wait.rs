//! `davit wait`

use crate::{client::container_name, command_error::CommandError, output, session::Session};

/// Wait until containers stop, and show their exit codes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Waits for containers in their order.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    output::each(&args.containers, async |name| {
        let waiting = session.client().wait(container_name(name)?, "not-running").await?;
        output::line(waiting.exit_code().await?)
    })
    .await
}
