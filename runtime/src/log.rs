//! The log that the caller asked for: one line per error or warning, which containerd's shim reads.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde::Serialize;

use crate::{
    cli::LogFormat,
    errno::{Attempt, CallError},
    timestamp,
};

static LOG: OnceLock<Log> = OnceLock::new();

/// The file is opened for each line: what stays open would be inherited by a container that waits to be started.
struct Log {
    path: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// Begins a log; without a path, lines go to standard error.
pub fn begin(path: Option<&Path>, format: LogFormat, debug: bool) -> Result<(), CallError> {
    if let Some(path) = path {
        open(path).attempt("open", path.display())?;
    }
    LOG.get_or_init(|| Log {
        path: path.map(Path::to_owned),
        format,
        debug,
    });
    Ok(())
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Says what made the command fail. A person at a terminal sees it too, where the log is a file.
pub fn error(text: &str) {
    write("error", text);
    if LOG.get().is_some_and(|log| log.path.is_some()) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Says what was done otherwise than asked for.
pub fn warn(text: &str) {
    write("warning", text);
}

/// Says what was done, where `--debug` asks for it.
pub fn debug(text: std::fmt::Arguments) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("debug", &text.to_string());
    }
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
    let file = LOG.get().and_then(|log| log.path.as_deref()).map(open);
    let _ = match file {
        Some(Ok(mut file)) => file.write_all(line.as_bytes()),
        _ => std::io::stderr().write_all(line.as_bytes()),
    };
}
