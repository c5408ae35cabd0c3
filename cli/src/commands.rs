//! A file for each command. The doc comments are the help.

mod attach;
mod container;
mod create;
mod events;
mod exec;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod kill;
mod load;
mod logs;
mod ps;
mod pull;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod start;
mod stop;
mod system;
mod tag;
mod top;
mod version;
mod wait;

use clap::Subcommand;

use crate::{command_error::CommandError, session::Session};

/// Every command.
#[expect(missing_docs, reason = "a command is described where its arguments are")]
#[derive(Debug, Subcommand)]
pub enum Commands {
    Run(Box<run::Args>),
    Exec(exec::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Attach(attach::Args),
    Create(Box<create::Args>),
    Start(start::Args),
    Stop(stop::Args),
    Restart(restart::Args),
    Kill(kill::Args),
    Rm(rm::Args),
    Wait(wait::Args),
    Top(top::Args),
    Rename(rename::Args),
    Inspect(inspect::Args),
    Pull(pull::Args),
    Images(images::Args),
    Rmi(rmi::Args),
    Tag(tag::Args),
    Load(load::Args),
    Import(import::Args),
    History(history::Args),
    Info(info::Args),
    Version(version::Args),
    Events(events::Args),
    #[command(subcommand)]
    Container(container::Commands),
    #[command(subcommand)]
    Image(image::Commands),
    #[command(subcommand)]
    System(system::Commands),
}

/// Runs a command.
pub async fn run(session: &Session, command: Commands) -> Result<(), CommandError> {
    match command {
        Commands::Run(args) => run::run(session, *args).await,
        Commands::Exec(args) => exec::run(session, args).await,
        Commands::Ps(args) => ps::run(session, args).await,
        Commands::Logs(args) => logs::run(session, args).await,
        Commands::Attach(args) => attach::run(session, args).await,
        Commands::Create(args) => create::run(session, *args).await,
        Commands::Start(args) => start::run(session, args).await,
        Commands::Stop(args) => stop::run(session, args).await,
        Commands::Restart(args) => restart::run(session, args).await,
        Commands::Kill(args) => kill::run(session, args).await,
        Commands::Rm(args) => rm::run(session, args).await,
        Commands::Wait(args) => wait::run(session, args).await,
        Commands::Top(args) => top::run(session, args).await,
        Commands::Rename(args) => rename::run(session, args).await,
        Commands::Inspect(args) => inspect::run(session, args).await,
        Commands::Pull(args) => pull::run(session, args).await,
        Commands::Images(args) => images::run(session, args).await,
        Commands::Rmi(args) => rmi::run(session, args).await,
        Commands::Tag(args) => tag::run(session, args).await,
        Commands::Load(args) => load::run(session, args).await,
        Commands::Import(args) => import::run(session, args).await,
        Commands::History(args) => history::run(session, args).await,
        Commands::Info(args) => info::run(session, args).await,
        Commands::Version(args) => version::run(session, args).await,
        Commands::Events(args) => events::run(session, args).await,
        Commands::Container(command) => container::run(session, command).await,
        Commands::Image(command) => image::run(session, command).await,
        Commands::System(command) => system::run(session, command).await,
    }
}
