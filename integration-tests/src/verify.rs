//! `cargo xtask test`: everything that must hold, in the order in which it fails fastest.

use std::{env, process::Command};

use anyhow::{Context, Result};
use davit_integration_tests::{packages, peers, workspace};

/// Sets the machine up, checks form, builds the programs, runs every test.
pub fn test(arguments: &[String]) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::RUN)?;
    packages::install(packages::TEST)?;
    peers::set_up()?;
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
    deny()?;
    workspace::build(workspace::Profile::Debug)?;
    let mut test = vec!["test", "--locked", "--workspace"];
    test.extend(arguments.iter().map(String::as_str));
    cargo(&test)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    eprintln!("==> cargo {}", arguments.join(" "));
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    workspace::run(Command::new(program).current_dir(workspace::root()).args(arguments)).context("see above")
}

/// Bans, licences and sources; advisories need a database that not every machine can reach.
fn deny() -> Result<()> {
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        eprintln!(
            "==> cargo deny is not installed: licences, bans and sources are not checked here (cargo install cargo-deny)"
        );
        return Ok(());
    }
    cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])
}
