//! What 50 idle containers cost: proportional and resident memory of shims and daemons.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use davit_integration_tests::{Engine, Run, Scratch, sweep};

use super::engine::docker;

const CONTAINERS: usize = 50;

/// Measures the memory.
pub fn run(scratch: &Scratch, folder: &Path) -> Result<()> {
    let engine = Engine::start(scratch);
    let archive = folder.join("busybox.tar");
    docker(
        engine.socket(),
        &["load", "--input", archive.to_str().context("an ASCII path")?],
    )
    .finish()
    .ok();
    let run = ["run", "-d", "--network", "none", "busybox", "sleep", "600"];
    let ids: Vec<String> = (0..CONTAINERS)
        .map(|_| docker(engine.socket(), &run).finish().ok())
        .collect();
    let processes = sweep::processes_of(scratch.path(), &[]);
    print(
        &format!("memory with {CONTAINERS} containers"),
        &processes,
        ["containerd-shim-davit-v1", "davit-containerd", "davitd"],
    );
    let mut remove = vec!["rm", "-f"];
    remove.extend(ids.iter().map(String::as_str));
    docker(engine.socket(), &remove).finish().ok();
    engine.stop();
    Ok(())
}

/// Prints the memory of those processes that run these programs.
pub fn print<'a>(title: &str, processes: &BTreeSet<u32>, programs: impl IntoIterator<Item = &'a str>) {
    println!("\n{title} (mean of each program's processes)");
    for program in programs {
        let samples: Vec<_> = processes
            .iter()
            .filter(|pid| runs(**pid, program))
            .filter_map(|pid| sample(*pid))
            .collect();
        let mean = |pick: fn(&(u64, u64)) -> u64| samples.iter().map(pick).sum::<u64>() / samples.len().max(1) as u64;
        println!(
            "  {program:<28}{:>4} x   PSS {:>6} kB   RSS {:>6} kB",
            samples.len(),
            mean(|s| s.0),
            mean(|s| s.1)
        );
    }
}

fn runs(pid: u32, program: &str) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.file_name().is_some_and(|name| name == program))
}

/// PSS and RSS in kB.
fn sample(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let field = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some((field("Pss:")?, field("Rss:")?))
}
