//! `containerd-shim-davit-v1`: chooses the action that the manager asks for.

use std::{
    env,
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use containerd_shim_davit_v1::{
    arguments::{self, Action},
    cleanup, handover, info, serve, start, upgrade,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The manager puts what is on stderr into its own error.
            let _ = writeln!(io::stderr(), "containerd-shim-davit-v1: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    match arguments::parse(env::args_os().skip(1))? {
        Action::Version => info::version()?,
        Action::Info => info::run()?,
        Action::Start(identity) => start::run(&identity)?,
        Action::Delete(identity, bundle) => cleanup::run(&identity, bundle)?,
        Action::Serve(identity, socket, beginning) => serve::run(identity, socket, beginning)?,
        Action::CheckHandover => handover::answer()?,
        Action::Upgrade(socket) => upgrade::run(&socket)?,
    }
    Ok(())
}
