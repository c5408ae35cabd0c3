//! `cargo xtask`: build, try, test and measure.

mod bench;
mod conformance;
mod quickstart;
mod verify;
mod vm;

use std::{env, path::Path, process::ExitCode};

use anyhow::{Result, bail};
use davit_integration_tests::{packages, peers, workspace};

const USAGE: &str = "\
usage: cargo xtask COMMAND
  quickstart       build, start the engine, run a container, kill both daemons, show that it runs on, clean up
  test [ARG...]    check and run every test; ARGs go to `cargo test`
  test vm [FILTER...]  run the tests of the virtual machine alone, or those of them whose names contain a FILTER
  bench [NAME...]  measure ours against the originals: oci, engine, manager, memory
  conformance [--real-manager] [--source DIR] [FILTER]  run containerd's client suite on our manager, or with our shim on containerd
  soak             start 10,000 containers against a swapped mount destination (CVE-2021-30465, CVE-2024-45310),
                   then 1,000, 16 at a time, of which no event may be lost and nothing left
  build [--debug]  build all programs into target/programs/release (or debug)
  peers            install the real Docker, containerd and runc that the tests compare with
  enter CMD...     run CMD among the peers";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        bail!("{USAGE}")
    };
    match (command.as_str(), rest) {
        ("quickstart", []) => quickstart::run(),
        ("test", [name, filters @ ..]) if name == "vm" => vm::test(filters),
        ("in-guest", [boot]) => vm::guest::run(boot),
        ("test", arguments) => verify::test(arguments),
        ("bench", arguments) => bench::run(arguments),
        ("bench-among-peers", [folder, arguments @ ..]) => bench::run_among_peers(Path::new(folder), arguments),
        ("conformance", arguments) => conformance::run(arguments),
        ("soak", []) => verify::soak(),
        ("build", []) => build(workspace::Profile::Release),
        ("build", [flag]) if flag == "--debug" => build(workspace::Profile::Debug),
        ("peers", []) => verify::set_up(),
        ("enter", [program, arguments @ ..]) => {
            peers::set_up()?;
            peers::enter(program, arguments)
        }
        _ => bail!("{USAGE}"),
    }
}

fn build(profile: workspace::Profile) -> Result<()> {
    packages::install(packages::BUILD)?;
    println!("{}", workspace::build(profile)?.display());
    Ok(())
}
