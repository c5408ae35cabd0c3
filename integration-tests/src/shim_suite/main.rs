//! `shim-suite`: whether a shim keeps the contract of containerd's runtime v2, case by case, as TAP (version 14).
//!
//! It is the manager: it writes bundles, runs the shim's program, calls its task service and takes its events. Nothing in it knows
//! a shim by name; what it expects holds on containerd-shim-runc-v2, or is optional and skipped there. Each case has a folder, a cgroup and a shim of its own.

mod cases;
mod events;
mod sandbox;
mod tap;
mod task;
mod world;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

use crate::{cases::Case, world::Subject};

const USAGE: &str = "\
usage: shim-suite [--runtime PROGRAM] SHIM [FILTER...]
  SHIM     the shim's program, looked for on PATH where it is only a name
  FILTER   only cases whose names contain one of these words
  --runtime PROGRAM  the OCI runtime that the shim is told to use, instead of its own choice";

fn main() -> ExitCode {
    match run(env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("shim-suite: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(mut words: impl Iterator<Item = String>) -> Result<bool> {
    let (mut runtime, mut rest) = (String::new(), Vec::new());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--runtime" => runtime = words.next().context(USAGE)?,
            word if word.starts_with('-') => bail!("unknown flag {word}\n{USAGE}"),
            _ => rest.push(word),
        }
    }
    let Some((shim, filters)) = rest.split_first() else {
        bail!("{USAGE}")
    };
    let subject = Subject {
        shim: find(shim)?,
        runtime,
    };
    let is_wanted = |case: &Case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter));
    let cases: Vec<Case> = cases::all().into_iter().filter(is_wanted).collect();
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let passed = executor.block_on(tap::run(subject, cases));
    // A case that failed may have left a thread that reads from a FIFO for ever.
    executor.shutdown_background();
    Ok(passed)
}

fn find(program: &str) -> Result<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).context("path of the shim");
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).map(|folder| folder.join(program));
    let mut found = places.filter(|place| place.is_file());
    found.next().with_context(|| format!("{program} is not on PATH"))
}
