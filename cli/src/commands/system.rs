//! `davit system …`: the commands about the engine under one roof.

use clap::Subcommand;

use super::{events, info};
use crate::{command_error::CommandError, session::Session};

/// Ask the engine about itself
#[derive(Debug, Subcommand)]
pub enum Commands {
    Events(events::Args),
    Info(info::Args),
}

/// Runs a command of the group.
pub async fn run(session: &Session, command: Commands) -> Result<(), CommandError> {
    match command {
        Commands::Events(args) => events::run(session, args).await,
        Commands::Info(args) => info::run(session, args).await,
    }
}
