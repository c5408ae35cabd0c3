//! `davit container …`: the commands about containers under one roof.

use clap::Subcommand;

use super::{
    attach, create, exec, inspect, kill, logs, ps, rename, restart, rm, run as run_container, start, stop, top, wait,
};
use crate::{command_error::CommandError, session::Session};

/// Manage containers
#[derive(Debug, Subcommand)]
pub enum Commands {
    Attach(attach::Args),
    Create(Box<create::Args>),
    Exec(exec::Args),
    Inspect(inspect::ContainerArgs),
    Kill(kill::Args),
    Logs(logs::Args),
    #[command(name = "ls", visible_aliases = ["ps", "list"])]
    List(ps::Args),
    Rename(rename::Args),
    Restart(restart::Args),
    #[command(alias = "remove")]
    Rm(rm::Args),
    Run(Box<run_container::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Top(top::Args),
    Wait(wait::Args),
}

/// Runs a command of the group.
pub async fn run(session: &Session, command: Commands) -> Result<(), CommandError> {
    match command {
        Commands::Attach(args) => attach::run(session, args).await,
        Commands::Create(args) => create::run(session, *args).await,
        Commands::Exec(args) => exec::run(session, args).await,
        Commands::Inspect(args) => inspect::containers(session, args).await,
        Commands::Kill(args) => kill::run(session, args).await,
        Commands::Logs(args) => logs::run(session, args).await,
        Commands::List(args) => ps::run(session, args).await,
        Commands::Rename(args) => rename::run(session, args).await,
        Commands::Restart(args) => restart::run(session, args).await,
        Commands::Rm(args) => rm::run(session, args).await,
        Commands::Run(args) => run_container::run(session, *args).await,
        Commands::Start(args) => start::run(session, args).await,
        Commands::Stop(args) => stop::run(session, args).await,
        Commands::Top(args) => top::run(session, args).await,
        Commands::Wait(args) => wait::run(session, args).await,
    }
}
