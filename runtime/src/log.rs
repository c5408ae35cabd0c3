//! The log that the caller asked for: one line per error or warning, which containerd's shim reads.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde::Serialize;

use crate::{
    cli::LogFormat,
    errno::{Attempt, CallError},
    talk::Channel,
    timestamp,
};

static LOG: OnceLock<Log> = OnceLock::new();

thread_local! {
    /// Who hears the details of a child that was forked.
    static RELAY: RefCell<Option<Channel>> = const { RefCell::new(None) };
}

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
    OpenOptions::new().append(true).create(true).mode(0o644).open(path)
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
    if !is_detailed() {
        return;
    }
    RELAY.with_borrow(|relay| match relay {
        Some(channel) => channel.remark(&text.to_string()),
        None => write("debug", &text.to_string()),
    });
}

/// From now on the details go to whoever hears this channel: in a container the log's path means another file, or none.
pub fn relay_to(channel: &Channel) {
    if is_detailed() {
        RELAY.set(channel.again().ok());
    }
}

fn is_detailed() -> bool {
    LOG.get().is_some_and(|log| log.debug)
}

fn write(level: &str, text: &str) {
    let time = timestamp::now_in_seconds();
    let line = match LOG.get().map_or(LogFormat::Text, |log| log.format) {
        LogFormat::Json => serde_json::to_string(&Line {
            level,
            msg: text,
            time: &time,
        })
        .unwrap_or_default(),
        LogFormat::Text => format!("time={time:?} level={level} msg={}", quoted(text)),
    };
    let line = format!("{line}\n");
    // One write each, so that lines of several processes do not mix. There is nowhere to report a failure to.
    let file = LOG.get().and_then(|log| log.path.as_deref()).map(open);
    let _ = match file {
        Some(Ok(mut file)) => file.write_all(line.as_bytes()),
        _ => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// As logrus has it: a single word is not quoted.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.into(),
        false => format!("{text:?}"),
    }
}
