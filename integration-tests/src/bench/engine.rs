//! `docker run --rm --network none` through our engine and through Docker's, with the same client.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use davit_integration_tests::{Dockerd, Engine, Run, Scratch};

use super::measure::{Candidate, compare};

const ROUNDS: usize = 20;

/// Measures the engines.
pub fn run(scratch: &Scratch, folder: &Path) -> Result<()> {
    let (ours, theirs) = (Engine::start(scratch), Dockerd::start_here(scratch));
    let archive = folder.join("busybox.tar");
    let archive = archive.to_str().context("an ASCII path")?;
    for socket in [ours.socket(), theirs.socket()] {
        docker(socket, &["load", "--input", archive]).finish().ok();
    }
    let client =
        |program: PathBuf, socket: PathBuf, arguments: &'static [&'static str]| -> Box<dyn Fn(usize) -> Command> {
            Box::new(move |_| {
                let mut command = Command::new(&program);
                command
                    .arg("-H")
                    .arg(format!("unix://{}", socket.display()))
                    .args(arguments);
                command
            })
        };
    let run: &[&str] = &["run", "--rm", "--network", "none", "busybox", "true"];
    let (our_socket, their_socket) = (ours.socket().to_owned(), theirs.socket().to_owned());
    let candidates = [
        Candidate {
            name: "docker → davitd",
            command: client("docker".into(), our_socket.clone(), run),
        },
        Candidate {
            name: "docker → dockerd",
            command: client("docker".into(), their_socket, run),
        },
        Candidate {
            name: "davit → davitd",
            command: client(folder.join("bin/davit"), our_socket.clone(), run),
        },
        Candidate {
            name: "docker version (client cost)",
            command: client("docker".into(), our_socket, &["version"]),
        },
    ];
    compare("run --rm --network none busybox true", ROUNDS, &candidates)?;
    ours.stop();
    theirs.stop();
    Ok(())
}

/// The `docker` of the peers, among whom this runs.
pub fn docker(socket: &Path, arguments: &[&str]) -> Command {
    let mut docker = Command::new("docker");
    docker
        .arg("-H")
        .arg(format!("unix://{}", socket.display()))
        .args(arguments);
    docker
}
