//! The manager and the shim against containerd with its own shim and runc, with the same `ctr`.

mod idle;
mod streams;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result};
use davit_integration_tests::{Containerd, Manager, Run, Scratch, wait};

use super::measure::{Candidate, compare};

const ROUNDS: usize = 20;
const IMAGE: &str = "docker.io/library/busybox:latest";

/// A manager, and the runtime that it is asked for.
struct Side {
    name: &'static str,
    runtime: &'static str,
    shim: &'static str,
    socket: PathBuf,
    /// Ends the ids of its containers: runtimes and cgroups are shared by all managers.
    mark: String,
}

/// Measures the managers.
pub fn run(scratch: &Scratch, folder: &Path) -> Result<()> {
    let (ours, theirs) = (Manager::start(scratch), Containerd::start_here(scratch));
    let sides = [
        Side {
            name: "davit-containerd",
            runtime: "io.containerd.davit.v1",
            shim: "containerd-shim-davit-v1",
            socket: ours.socket().to_owned(),
            mark: format!("d-{}", scratch.bridge()),
        },
        Side {
            name: "containerd",
            runtime: "io.containerd.runc.v2",
            shim: "containerd-shim-runc-v2",
            socket: theirs.socket().to_owned(),
            mark: format!("r-{}", scratch.bridge()),
        },
    ];
    let archive = folder.join("busybox.tar");
    let archive = archive.to_str().context("an ASCII path")?;
    for side in &sides {
        side.ctr(&["images", "import", archive]).finish().ok();
    }
    runs(&sides)?;
    execs(&sides)?;
    streams::measure(&sides, scratch)?;
    idle::measure(scratch, &sides, ours, theirs)
}

impl Side {
    fn ctr(&self, arguments: &[&str]) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&self.socket).args(arguments);
        ctr
    }

    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.mark)
    }

    /// `ctr run` with `options`, of the image's `program`.
    fn run(&self, options: &[&str], name: &str, program: &[&str]) -> Command {
        let begin = ["run", "--runtime", self.runtime];
        self.ctr(&[&begin, options, &[IMAGE, &self.id(name)], program].concat())
    }

    /// Starts a container that does nothing.
    fn start_idle(&self, name: &str) {
        self.run(&["--detach"], name, &["sleep", "86400"]).finish().ok();
    }

    /// Ends and removes a container, which may have ended by itself.
    fn remove(&self, name: &str) {
        let id = self.id(name);
        self.ctr(&["tasks", "kill", "--signal", "KILL", &id]).finish();
        wait::until_true(&format!("{id} has ended"), 20, || self.running(&id) == 0);
        // What `ctr` returns is the task's own code.
        self.ctr(&["tasks", "rm", &id]).finish();
        self.ctr(&["containers", "rm", &id]).finish().ok();
    }

    /// How many tasks run whose id begins so.
    fn running(&self, begin: &str) -> usize {
        let list = self.ctr(&["tasks", "list"]).finish().ok();
        let is_such = |line: &&str| line.starts_with(begin) && line.trim_end().ends_with("RUNNING");
        list.lines().filter(is_such).count()
    }
}

/// `ctr` alone comes last: its cost is in each of the others.
fn candidates<'a>(sides: &'a [Side], command: impl Fn(&'a Side, usize) -> Command + Copy + 'a) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<_> = sides
        .iter()
        .map(|side| Candidate {
            name: side.name,
            command: Box::new(move |round| command(side, round)) as Box<dyn Fn(usize) -> Command + 'a>,
        })
        .collect();
    candidates.push(Candidate {
        name: "ctr version (client cost)",
        command: Box::new(|_| sides[0].ctr(&["version"])),
    });
    candidates
}

fn runs(sides: &[Side]) -> Result<()> {
    let candidates = candidates(sides, |side, round| {
        side.run(&["--rm"], &format!("run-{round}"), &["true"])
    });
    compare("ctr run --rm busybox true", ROUNDS, &candidates)
}

fn execs(sides: &[Side]) -> Result<()> {
    sides.iter().for_each(|side| side.start_idle("exec"));
    let candidates = candidates(sides, |side, round| {
        side.ctr(&[
            "tasks",
            "exec",
            "--exec-id",
            &format!("e{round}"),
            &side.id("exec"),
            "true",
        ])
    });
    let compared = compare("ctr tasks exec true", ROUNDS, &candidates);
    // An exec is removed a moment after `ctr` returns.
    sleep(Duration::from_millis(100));
    sides.iter().for_each(|side| side.remove("exec"));
    compared
}
