//! Lines on standard output. `println!` panics when the reader goes away; these return the error.

use std::{
    fmt,
    io::{self, Write},
};

use futures::{StreamExt, stream};

use crate::command_error::CommandError;

/// Requests of one command that the engine may have before it at once.
const TOGETHER: usize = 50;

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
        failed |= reported(act(thing).await)?;
    }
    if failed { Err(CommandError::reported()) } else { Ok(()) }
}

/// [`each`], with all at once: stopping ten containers takes as long as the slowest. Shows what each gives, in their order.
pub async fn together<T>(
    things: &[T],
    act: impl AsyncFn(&T) -> Result<Option<String>, CommandError>,
) -> Result<(), CommandError> {
    let mut failed = false;
    let mut results = stream::iter(things).map(|thing| act(thing)).buffered(TOGETHER);
    while let Some(result) = results.next().await {
        failed |= reported(result.and_then(|shown| shown.map_or(Ok(()), line)))?;
    }
    if failed { Err(CommandError::reported()) } else { Ok(()) }
}

/// Reports a failure and says that it was one. A reader that went away ends it all.
fn reported(result: Result<(), CommandError>) -> Result<bool, CommandError> {
    let Err(error) = result else { return Ok(false) };
    match error.report() {
        Some(report) => {
            note(report);
            Ok(true)
        }
        None => Err(error),
    }
}
