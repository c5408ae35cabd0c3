//! The log that the caller asked for: one line per error or warning, which containerd's shim reads.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::OnceLock,
};

use serde::Serialize;

use crate::{cli::LogFormat, timestamp};

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    file: Option<File>,
    format: LogFormat,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// Opens the log; without a path, lines go to standard error.
pub fn open(path: Option<&Path>, format: LogFormat) -> std::io::Result<()> {
    let file = path
        .map(|path| OpenOptions::new().append(true).create(true).open(path))
        .transpose()?;
    LOG.get_or_init(|| Log { file, format });
    Ok(())
}

/// Says what made the command fail. A person at a terminal sees it too, where the log is a file.
pub fn error(text: &str) {
    write("error", text);
    if LOG.get().is_some_and(|log| log.file.is_some()) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Says what was done otherwise than asked for.
pub fn warn(text: &str) {
    write("warning", text);
}

fn write(level: &str, text: &str) {
    let time = timestamp::now();
    let line = match LOG.get().map_or(LogFormat::Text, |log| log.format) {
        LogFormat::Json => serde_json::to_string(&Line {
            level,
            msg: text,
            time: &time,
        })
        .unwrap_or_default(),
        LogFormat::Text => format!("time={time:?} level={level} msg={text:?}"),
    };
    let line = format!("{line}\n");
    // One write each, so that lines of several processes do not mix. There is nowhere to report a failure to.
    let _ = match LOG.get().and_then(|log| log.file.as_ref()) {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}
