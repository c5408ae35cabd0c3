//! `cargo xtask bench`: ours and the originals, alternately, in one run; ratios travel, milliseconds do not.
//!
//! Everything runs among the peers, so that both sides have the same libraries and the same mounts. Nothing here is a test:
//! a number never fails a build. Each measurement is made twice, spaced by 150 ms and back to back, because some costs of the
//! kernel (a v1 `cgroup.procs` write waits for an RCU grace period) vanish in a tight loop.

mod engine;
mod manager;
mod measure;
mod memory;
mod oci;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use davit_integration_tests::{Scratch, image, packages, peers, workspace};

/// Builds, then goes among the peers and measures there.
pub fn run(arguments: &[String]) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    peers::set_up()?;
    let programs = workspace::build(workspace::Profile::Release)?;
    let scratch = Scratch::with_programs(&programs);
    let shared = scratch.shared_programs();
    // Not by its name: a build meanwhile may have put another one there.
    fs::copy("/proc/self/exe", shared.join("xtask"))?;
    build_floor(&shared)?;
    image::busybox_archive(&scratch.join("busybox.tar"))?;
    image::busybox_root(&scratch.join("rootfs"))?;
    let mut inside = peers::command(shared.join("xtask"));
    inside.arg("bench-among-peers").arg(scratch.path()).args(arguments);
    workspace::run(inside.env("DAVIT_PROGRAMS", &shared))
}

/// The part that runs among the peers. `arguments` picks measurements by name; none: all.
pub fn run_among_peers(folder: &Path, arguments: &[String]) -> Result<()> {
    let wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == name);
    let scratch = Scratch::new();
    if wanted("oci") {
        oci::run(&scratch, folder)?;
    }
    if wanted("engine") {
        engine::run(&scratch, folder)?;
    }
    if wanted("manager") {
        manager::run(&scratch, folder)?;
    }
    if wanted("memory") {
        memory::run(&scratch, folder)?;
    }
    Ok(())
}

/// The floor under a container start, as a C program without a runtime of its own, and what measures memory.
fn build_floor(folder: &Path) -> Result<()> {
    for name in ["floor", "peak"] {
        let source = workspace::root()
            .join("integration-tests/floor")
            .join(format!("{name}.c"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-o"]).arg(folder.join(name)).arg(source);
        workspace::run(&mut gcc).context("the floor program")?;
    }
    Ok(())
}
