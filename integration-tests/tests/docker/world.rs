//! An engine with busybox in it: the real one, and ours.

use std::{path::Path, process::Command};

use davit_integration_tests::{Dockerd, Engine, Finished, Run, Scratch, image};

/// An engine, ours or the real one, with busybox in it.
pub struct World<'a> {
    /// The test's own folder.
    pub scratch: &'a Scratch,
    /// Where the engine listens.
    pub socket: &'a Path,
    /// The runtime's name, in which the originals' words differ.
    pub runtime: &'a str,
}

impl World<'_> {
    /// Runs `docker` to its end.
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        self.command(arguments).finish()
    }

    /// Runs `docker` with this on its standard input.
    pub fn docker_with(&self, arguments: &[&str], input: &[u8]) -> Finished {
        self.command(arguments).finish_with(input)
    }

    /// `docker`, to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.scratch.docker(self.socket);
        command.args(arguments);
        command
    }

    /// `docker run --rm --network none OPTIONS… busybox COMMAND…`.
    pub fn run(&self, options: &[&str], command: &[&str]) -> Finished {
        let all = [&["run", "--rm", "--network", "none"], options, &["busybox"], command].concat();
        self.docker(&all)
    }
}

/// Runs `journey` on the real Docker, which proves what it expects, and then on ours.
pub fn on_both(journey: impl Fn(&World<'_>)) {
    let scratch = Scratch::new();
    let dockerd = Dockerd::start(&scratch);
    travel(&scratch, dockerd.socket(), "runc", &journey);
    dockerd.stop();
    on_ours_in(&scratch, journey);
}

/// Runs `journey` on ours alone: for what is our own.
pub fn on_ours(journey: impl Fn(&World<'_>)) {
    on_ours_in(&Scratch::new(), journey);
}

fn on_ours_in(scratch: &Scratch, journey: impl Fn(&World<'_>)) {
    let engine = Engine::start(scratch);
    travel(scratch, engine.socket(), "davit-runtime", &journey);
    engine.stop();
}

fn travel(scratch: &Scratch, socket: &Path, runtime: &str, journey: impl Fn(&World<'_>)) {
    let archive = scratch.join("busybox.tar");
    if !archive.exists() {
        image::busybox_archive(&archive).expect("an image");
    }
    let world = World {
        scratch,
        socket,
        runtime,
    };
    world
        .docker(&["load", "--input", archive.to_str().expect("ASCII")])
        .ok();
    journey(&world);
}
