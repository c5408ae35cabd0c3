use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, and the terminal's output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// An entry of the log: a line, or a piece of 16 KiB of a long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub stream: LogStream,
    /// When.
    pub time: Timestamp,
    /// Its bytes, with the newline where it has one.
    pub text: Vec<u8>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// A line of the file; `None` where it is not one.
pub(super) fn parse(bytes: &[u8]) -> Option<LogLine> {
    let entry: Entry<'_> = serde_json::from_slice(bytes).ok()?;
    let stream = match &*entry.stream {
        "stdout" => LogStream::Stdout,
        "stderr" => LogStream::Stderr,
        _ => return None,
    };
    Some(LogLine {
        stream,
        time: entry.time.parse().ok()?,
        text: entry.log.into_owned().into_bytes(),
    })
}
