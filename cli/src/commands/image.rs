//! `davit image …`: the commands about images under one roof.

use clap::Subcommand;

use super::{history, images, import, inspect, load, pull, rmi, tag};
use crate::{command_error::CommandError, session::Session};

/// Manage images
#[derive(Debug, Subcommand)]
pub enum Commands {
    History(history::Args),
    Import(import::Args),
    Inspect(inspect::ImageArgs),
    Load(load::Args),
    #[command(name = "ls", visible_alias = "list")]
    List(images::Args),
    Pull(pull::Args),
    #[command(name = "rm", visible_alias = "remove")]
    Remove(rmi::Args),
    Tag(tag::Args),
}

/// Runs a command of the group.
pub async fn run(session: &Session, command: Commands) -> Result<(), CommandError> {
    match command {
        Commands::History(args) => history::run(session, args).await,
        Commands::Import(args) => import::run(session, args).await,
        Commands::Inspect(args) => inspect::images(session, args).await,
        Commands::Load(args) => load::run(session, args).await,
        Commands::List(args) => images::run(session, args).await,
        Commands::Pull(args) => pull::run(session, args).await,
        Commands::Remove(args) => rmi::run(session, args).await,
        Commands::Tag(args) => tag::run(session, args).await,
    }
}
