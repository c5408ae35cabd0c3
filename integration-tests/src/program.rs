//! Programs that a test makes.
//!
//! They are written by another process: a child that another thread of the test forks meanwhile would hold what this one
//! has open for writing, and until its own execve nobody could execute it (ETXTBSY).

use std::{path::Path, process::Command};

use crate::Run;

/// Copies a program.
///
/// # Panics
/// Where it is not there, or the place is not ours.
#[track_caller]
pub fn copy(from: impl AsRef<Path>, to: &Path) {
    Command::new("cp").arg(from.as_ref()).arg(to).finish().ok();
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
