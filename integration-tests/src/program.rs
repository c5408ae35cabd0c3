//! Programs that a test makes.
//!
//! They are written by another process: a child that another thread of the test forks meanwhile would hold what this one
//! has open for writing, and until its own execve nobody could execute it (ETXTBSY).

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::{Run, workspace::run};

/// Copies a program, which everybody may execute then.
pub fn copy(from: impl AsRef<Path>, to: &Path) -> Result<()> {
    run(Command::new("install").args(["-m", "755"]).arg(from.as_ref()).arg(to))
}

/// Writes a script that everybody may execute.
///
/// # Panics
/// Where the place is not ours.
#[track_caller]
pub fn write(path: impl AsRef<Path>, text: &str) {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(path.as_ref());
    shell.finish_with(text.as_bytes()).ok();
}
