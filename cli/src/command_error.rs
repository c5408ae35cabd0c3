//! Every way a command can fail: its exit code, its words, and what the user can do next.
//!
//! This is the only file that knows exit codes and hints. Scripts depend on the codes, so they are Docker's: 125 for a bad flag
//! and for anything that keeps `run` from running, 126 and 127 for a command that cannot be run or found, 128 + n for a signal,
//! the container's own for its end, and 1 for the rest.

use std::{borrow::Cow, fmt, io, path::Path};

use crate::{client::Unreachable, template::TemplateError};

/// A bad flag, or a container that could not be made.
const CANNOT_RUN: u8 = 125;
/// The command exists and cannot be run.
const NOT_EXECUTABLE: u8 = 126;
/// The command does not exist.
const NOT_FOUND: u8 = 127;
/// What `inspect` exits with when its format is none.
const BAD_TEMPLATE: u8 = 64;
/// Whoever read our output went away: what a shell reports for SIGPIPE.
const BROKEN_PIPE: u8 = 128 + 13;

/// A failed command.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    text: String,
    hints: Vec<Cow<'static, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Bad flags.
    Usage,
    /// The user asked for something that cannot be.
    User,
    /// The engine said no, with this HTTP status.
    Engine(u16),
    /// No engine.
    Unreachable,
    /// The engine answered something that is not its API.
    Protocol,
    /// `run` did not run.
    Run(u8),
    /// Everything is said already; only the code is left.
    Exit(u8),
}

impl CommandError {
    /// A bad flag or argument.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// Something the user asked for cannot be.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Kind::User, text)
    }

    /// A refusal of the engine.
    pub fn engine(status: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        let hints = engine_hint(&text).into_iter().collect();
        Self {
            kind: Kind::Engine(status),
            text,
            hints,
        }
    }

    /// An answer that ended too early.
    pub fn broken(text: impl Into<String>) -> Self {
        Self::new(Kind::Protocol, text)
    }

    /// A flag or command that Docker has and this program does not have yet.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, format!("{what} is not supported by davit yet"))
    }

    /// The end of a container's process.
    pub fn exit(code: i64) -> Self {
        // The kernel's exit codes have eight bits; anything else is an engine's invention.
        Self::new(Kind::Exit(u8::try_from(code).unwrap_or(CANNOT_RUN)), "")
    }

    /// A signal asked this program to end.
    pub fn signal(number: i32) -> Self {
        Self::exit(128 + i64::from(number))
    }

    /// A file of the user's that cannot be used.
    pub fn file(path: &Path, error: &io::Error) -> Self {
        Self::user(format!("open {}: {}", path.display(), words(error)))
    }

    /// This error as a mistake in a flag.
    pub fn as_usage(self) -> Self {
        Self {
            kind: Kind::Usage,
            ..self
        }
    }

    /// A template that is none.
    pub fn bad_template(error: &TemplateError) -> Self {
        Self::new(Kind::Run(BAD_TEMPLATE), error.to_string())
    }

    /// Some of several things failed, and each was reported.
    pub fn reported() -> Self {
        Self::new(Kind::Exit(1), "")
    }

    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            hints: Vec::new(),
        }
    }

    /// Adds what the user can do next.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// This error as the end of `run`: the code says whether it was the command or anything else that could not be.
    pub fn while_running(self) -> Self {
        let code = match self.kind {
            Kind::Exit(_) => return self,
            Kind::Engine(_) => run_code(&self.text),
            Kind::Usage | Kind::Unreachable | Kind::Protocol | Kind::Run(_) => CANNOT_RUN,
            Kind::User => 1,
        };
        let text = self.to_string();
        Self {
            kind: Kind::Run(code),
            text,
            hints: self.hints,
        }
    }

    /// Whether the engine said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::Engine(404)
    }

    /// Whether what the engine did not find is an image, or one for the platform.
    pub fn is_missing_image(&self) -> bool {
        let texts = ["No such image", "does not match the specified platform"];
        self.is_not_found() && texts.iter().any(|text| self.text.contains(text))
    }

    /// Whether the connection to the engine ended before its answer did.
    pub fn is_broken(&self) -> bool {
        matches!(self.kind, Kind::Protocol | Kind::Unreachable)
    }

    /// Whether there cannot be such a thing: it was not found, or its name is none.
    pub fn is_missing(&self) -> bool {
        matches!(self.kind, Kind::Engine(400 | 404))
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => CANNOT_RUN,
            Kind::User | Kind::Engine(_) | Kind::Unreachable | Kind::Protocol => 1,
            Kind::Run(code) | Kind::Exit(code) => code,
        }
    }

    /// The error with its hints, as it is shown, or nothing when everything is said.
    pub fn report(&self) -> Option<String> {
        if let Kind::Exit(_) = self.kind {
            return None;
        }
        let hints = self.hints.iter().map(|hint| format!("\nHint: {hint}"));
        let text = format!("davit: {self}{}", hints.collect::<String>());
        // An engine quotes what it read; bytes of a broken archive must not reach the terminal.
        Some(text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', "\u{fffd}"))
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Engine(_) => write!(f, "Error response from daemon: {}", self.text),
            _ => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for CommandError {}

/// What an error of the system says, without Rust's number at its end.
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// The code of a `run` that the engine refused.
fn run_code(text: &str) -> u8 {
    let says = |part: &str| text.contains(part);
    if says("executable file not found") || says("no such file or directory") || says("system cannot find the file") {
        return NOT_FOUND;
    }
    if says("permission denied") || says("is a directory") {
        return NOT_EXECUTABLE;
    }
    CANNOT_RUN
}

/// What helps against a refusal of the engine.
fn engine_hint(text: &str) -> Option<Cow<'static, str>> {
    const HINTS: &[(&str, &str)] = &[
        ("No such container", "`davit ps -a` lists all containers"),
        (
            "No such image",
            "`davit images` lists the images here, `davit pull` downloads one",
        ),
        (
            "is already in use by container",
            "`davit rm` or `davit rename` frees the name",
        ),
        ("container is running", "`davit stop` it first, or use `davit rm -f`"),
        ("remove the container before", "`davit rm -f` stops and removes it"),
        ("is using its referenced image", "`davit rm` the container first"),
        ("must be forced", "`davit rmi -f` removes it anyway"),
        (
            "executable file not found",
            "there is no such program in the container's PATH",
        ),
        ("is not running", "`davit start` starts it"),
        (
            "connection refused",
            "is the registry up, and reachable from the engine?",
        ),
    ];
    if let Some(newest) = text.split("Maximum supported API version is ").nth(1) {
        return Some(format!("set DOCKER_API_VERSION={}", newest.trim_end_matches('.')).into());
    }
    let text = text.to_lowercase();
    let (_, hint) = HINTS.iter().find(|(part, _)| text.contains(&part.to_lowercase()))?;
    Some((*hint).into())
}

fn unreachable(error: &Unreachable) -> CommandError {
    let shown = CommandError::new(Kind::Unreachable, error.to_string());
    match error.source.kind() {
        io::ErrorKind::PermissionDenied => shown.hint("run davit as root, or as a member of the socket's group"),
        _ => shown.hint("is davitd running? `-H` or DOCKER_HOST names another engine"),
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return unreachable(error);
        }
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::Exit(BROKEN_PIPE), ""),
            _ => Self::user(chain(&error)),
        }
    }
}

impl From<bollard::errors::Error> for CommandError {
    fn from(error: bollard::errors::Error) -> Self {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError { status_code, message } => Self::engine(status_code, message),
            Error::DockerStreamError { error } => Self::engine(500, error),
            Error::IOError { err } => err.into(),
            other => Self::new(Kind::Protocol, chain(&other)),
        }
    }
}

impl From<hyper::Error> for CommandError {
    fn from(error: hyper::Error) -> Self {
        Self::new(
            Kind::Protocol,
            format!("the connection to the engine broke: {}", chain(&error)),
        )
    }
}

impl From<hyper::http::Error> for CommandError {
    fn from(error: hyper::http::Error) -> Self {
        Self::new(Kind::Protocol, chain(&error))
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(
            Kind::Protocol,
            format!("the engine's answer is not understood: {error}"),
        )
    }
}

impl From<TemplateError> for CommandError {
    fn from(error: TemplateError) -> Self {
        Self::user(error.to_string()).hint("`--format json` shows the fields there are")
    }
}

/// An error with its causes, leaving out those that its text already contains.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_engine_choose_the_code_of_run() {
        let check = |text: &str, code| {
            assert_eq!(
                CommandError::engine(400, text).while_running().exit_code(),
                code,
                "{text}"
            )
        };
        check("exec: \"x\": executable file not found in $PATH", 127);
        check("exec: \"/x\": stat /x: no such file or directory", 127);
        check("exec: \"/etc\": permission denied", 126);
        check("exec: \"/etc\": is a directory", 126);
        check(
            "Conflict. The container name \"/x\" is already in use by container \"y\"",
            125,
        );
    }

    #[test]
    fn outside_of_run_refusals_are_1_and_usage_is_125() {
        assert_eq!(CommandError::engine(404, "No such container: x").exit_code(), 1);
        assert_eq!(CommandError::usage("unknown flag").exit_code(), 125);
        assert_eq!(CommandError::exit(7).exit_code(), 7);
        assert_eq!(CommandError::signal(2).exit_code(), 130);
        assert_eq!(CommandError::exit(7).while_running().exit_code(), 7);
    }

    #[test]
    fn errors_say_what_to_do_next() {
        let error = CommandError::engine(404, "No such container: x");
        assert_eq!(
            error.report().unwrap(),
            "davit: Error response from daemon: No such container: x\nHint: `davit ps -a` lists all containers"
        );
        let error = CommandError::engine(
            400,
            "client version 1.44 is too new. Maximum supported API version is 1.41",
        );
        assert!(error.report().unwrap().ends_with("Hint: set DOCKER_API_VERSION=1.41"));
        assert_eq!(CommandError::reported().report(), None);
        let error = CommandError::engine(500, "bad header \u{1b}[31m");
        assert_eq!(
            error.report().unwrap(),
            "davit: Error response from daemon: bad header \u{fffd}[31m"
        );
    }
}
