//! The command line `davit`. It knows the Docker API and nothing else of the engine: no path, no socket but the one it talks
//! to, no crate of the other programs. So it works with Docker's engine as well.
//!
//! - [`args`] is the command tree, [`commands`] has a file for each command, whose doc comments are its help;
//! - [`flags`] turns what the user wrote into what the API takes, [`format`] and [`template`] turn answers into text;
//! - [`client`] talks to the engine, [`streams`] and [`terminal`] connect a container's streams with the user's;
//! - [`command_error`] alone knows exit codes and hints.

pub mod args;
pub mod client;
pub mod command_error;
pub mod commands;
pub mod flags;
pub mod format;
pub mod output;
pub mod progress;
pub mod session;
pub mod streams;
pub mod template;
pub mod terminal;

use std::ffi::OsString;

use command_error::CommandError;

/// Runs the command line and gives its exit code.
pub fn main(args: Vec<OsString>) -> i32 {
    let inherited = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        terminal::restore();
        inherited(info);
    }));
    match run(args) {
        Ok(()) => 0,
        Err(error) => {
            if let Some(report) = error.report() {
                output::note(report);
            }
            error.exit_code().into()
        }
    }
}

fn run(args: Vec<OsString>) -> Result<(), CommandError> {
    let Some(invocation) = args::parse(args)? else {
        return Ok(());
    };
    // One thread: a command waits more than it works, and a pool of threads would cost more than most commands take.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let session = session::Session::open(&invocation.global)?;
    let result = runtime.block_on(Box::pin(commands::run(&session, invocation.command)));
    // A thread may sit in a read of standard input for ever; nobody waits for it.
    runtime.shutdown_background();
    result
}
