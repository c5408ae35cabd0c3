//! `cargo xtask test`: everything that must hold, in the order in which it fails fastest.

use std::{env, process::Command};

use anyhow::{Context, Result};
use davit_integration_tests::{image, packages, peers, sweep, workspace};

use crate::vm;

/// Sets the machine up, checks form, builds the programs, runs every test.
pub fn test(arguments: &[String]) -> Result<()> {
    set_up()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ])?;
    // Not among all targets: a plain `cargo test` must not run it on the machine itself.
    cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--test",
        "guest",
        "--quiet",
        "--",
        "--deny",
        "warnings",
    ])?;
    deny()?;
    workspace::build(workspace::Profile::Debug)?;
    let _cgroups = sweep::TopCgroups::now();
    let mut test = vec!["test", "--locked", "--workspace"];
    test.extend(arguments.iter().map(String::as_str));
    cargo(&test)?;
    // Arguments choose among cargo's tests; all of it is all machines.
    if arguments.is_empty() { vm::test(&[]) } else { Ok(()) }
}

/// Runs the races of the security tests for as long as their CVEs asked for, and a thousand containers that come and go; the tests
/// alone run some rounds of each.
pub fn soak() -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    workspace::build(workspace::Profile::Debug)?;
    long_test("DAVIT_RACE_ROUNDS", "10000", "runtime", "security::races")?;
    long_test("DAVIT_LIVES", "1000", "manager", "lifecycles")
}

/// Runs the tests whose names contain `filter` for as many rounds.
fn long_test(variable: &str, rounds: &str, file: &str, filter: &str) -> Result<()> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut test = Command::new(program);
    test.current_dir(workspace::root())
        .env(variable, rounds)
        .args(["test", "--locked", "-p", "davit-integration-tests"])
        .args(["--test", file, filter]);
    workspace::run(&mut test)
}

/// Installs what the tests need: packages, the peers, and a Debian with nginx to make an image of. Once per machine.
pub fn set_up() -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    packages::install(packages::TEST)?;
    peers::set_up()?;
    image::debian_nginx_tar().map(drop)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    eprintln!("==> cargo {}", arguments.join(" "));
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    workspace::run(Command::new(program).current_dir(workspace::root()).args(arguments)).context("see above")
}

/// The version whose configuration `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Bans, licences and sources; advisories need a database that not every machine can reach.
///
/// cargo-deny is built once per machine, into the cache: some four minutes on two cores.
fn deny() -> Result<()> {
    let tools = peers::folder().with_file_name("tools");
    let program = tools.join("bin/cargo-deny");
    let version = Command::new(&program)
        .arg("--version")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    if !String::from_utf8_lossy(&version).contains(CARGO_DENY) {
        let root = tools.to_str().context("an ASCII path")?;
        cargo(&[
            "install",
            "cargo-deny",
            "--quiet",
            "--locked",
            "--version",
            CARGO_DENY,
            "--root",
            root,
        ])?;
    }
    eprintln!("==> cargo deny check bans licenses sources");
    let mut deny = Command::new(program);
    deny.current_dir(workspace::root())
        .args(["--log-level", "error", "check", "bans", "licenses", "sources"]);
    workspace::run(&mut deny)
}
