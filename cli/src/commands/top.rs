//! `davit top`

use bollard::query_parameters::TopOptions;

use crate::{client::container_name, command_error::CommandError, output, session::Session};

/// Show the processes of a container
#[derive(Debug, clap::Args)]
#[command(override_usage = "davit top CONTAINER [PS FLAG...]")]
pub struct Args {
    /// Container, and flags for ps
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "CONTAINER [PS FLAG]")]
    words: Vec<String>,
}

/// Shows processes. The last column is as long as it is.
pub async fn run(session: &Session, args: Args) -> Result<(), CommandError> {
    let (container, flags) = args.words.split_first().expect("clap requires a container");
    let flags = if flags.is_empty() {
        "-ef".to_owned()
    } else {
        flags.join(" ")
    };
    let options = TopOptions { ps_args: flags };
    let top = session
        .docker()
        .top_processes(container_name(container)?, Some(options))
        .await?;
    let titles = top.titles.unwrap_or_default();
    let rows = top.processes.unwrap_or_default();
    output::text(&crate::format::plain_table(titles, rows))
}
