//! Lines on standard output. `println!` panics when the reader goes away; these return the error.

use std::{
    fmt,
    io::{self, Write},
};

use crate::command_error::CommandError;

/// Writes a line.
pub fn line(text: impl fmt::Display) -> Result<(), CommandError> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Writes text as it is.
pub fn text(text: &str) -> Result<(), CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line to standard error, where nobody may listen.
pub fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Does something for each of several things, reports each failure, and goes on. Fails when any did.
pub async fn each<T>(
    things: &[T],
    mut act: impl AsyncFnMut(&T) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut failed = false;
    for thing in things {
        let Err(error) = act(thing).await else { continue };
        // A reader that went away ends it all.
        let Some(report) = error.report() else {
            return Err(error);
        };
        note(report);
        failed = true;
    }
    if failed { Err(CommandError::reported()) } else { Ok(()) }
}
