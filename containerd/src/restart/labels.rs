//! What a container's labels ask for. The labels and what they mean are containerd's.

use std::str::FromStr;

use davit_metadata::Labels;

/// What a container's task shall be: `running` or `stopped`. Only a container with this label is looked after.
pub(super) const STATUS: &str = "containerd.io/restart.status";
/// After which ends a task is started again.
const POLICY: &str = "containerd.io/restart.policy";
/// How often that was done.
const COUNT: &str = "containerd.io/restart.count";
/// That somebody stopped the container, and meant it.
const EXPLICITLY_STOPPED: &str = "containerd.io/restart.explicitly-stopped";
/// Where output goes, as a stdio URI.
const LOG_URI: &str = "containerd.io/restart.loguri";
/// Where output went before containerd 2.0, which does not read it any more.
const LOG_PATH: &str = "containerd.io/restart.logpath";

/// The policies that are known, by name.
pub const POLICIES: [&str; 4] = ["no", "always", "on-failure", "unless-stopped"];

/// The state of a container's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is none. How it ended, where that was heard.
    Missing(Option<u32>),
    /// Somebody is making it.
    Coming,
    /// Its shim is still being looked for.
    Returning,
    /// Its shim does not say.
    Unknown,
    /// It was made and not started, by a process of this id: its maker may be about to start it.
    Created(u32),
    /// It was made, and nobody is there who would start it.
    Abandoned,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It has ended with this exit status.
    Stopped(u32),
}

/// One restart of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    /// How the task ended; 0 where nobody knows.
    pub(super) exit_status: u32,
    /// The how manyth it is.
    pub(super) number: i64,
}

impl Restart {
    /// What follows a restart that failed.
    pub(super) fn next(self) -> Self {
        Self {
            number: self.number.saturating_add(1),
            ..self
        }
    }
}

/// What is to be done with a container's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing: it is as desired, or its policy says no.
    Nothing,
    /// Make it anew and start it.
    Start(Restart),
    /// End and remove it.
    Stop,
    /// Look again once its shim is found.
    Wait,
}

/// A label that says nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidLabel {
    #[error("label {POLICY}: restart policy {0:?} is not one of no, always, on-failure[:n], unless-stopped")]
    Policy(String),
    #[error("label {POLICY}: retries {0:?} are not a number")]
    Retries(String),
    #[error("label {COUNT}: {0:?} is not a number")]
    Count(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    No,
    Always,
    /// So often at most; 0 is for ever.
    OnFailure(i64),
    UnlessStopped,
}

impl FromStr for Policy {
    type Err = InvalidLabel;

    /// As containerd reads it: no name is `always`, and after the number of retries anything may follow a further colon.
    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let mut parts = text.split(':');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("no", None) => Ok(Self::No),
            ("" | "always", None) => Ok(Self::Always),
            ("unless-stopped", None) => Ok(Self::UnlessStopped),
            ("on-failure", None) => Ok(Self::OnFailure(0)),
            ("on-failure", Some(most)) => most
                .parse()
                .map(Self::OnFailure)
                .map_err(|_| InvalidLabel::Retries(most.into())),
            _ => Err(InvalidLabel::Policy(text.into())),
        }
    }
}

/// What these labels ask for while the task is in this state. `unfinished` is a restart that was begun, and goes on.
pub(super) fn wish(labels: &Labels, state: State, unfinished: Option<Restart>) -> Result<Wish, InvalidLabel> {
    match (value(labels, STATUS), state) {
        ("running", State::Missing(heard)) => {
            let exit_status = unfinished.map(|restart| restart.exit_status).or(heard);
            start(labels, exit_status.unwrap_or(0), unfinished)
        }
        ("running", State::Abandoned) => start(labels, unfinished.map_or(0, |restart| restart.exit_status), unfinished),
        ("running", State::Stopped(exit_status)) => start(labels, exit_status, unfinished),
        ("stopped", State::Abandoned | State::Running | State::Paused) => Ok(Wish::Stop),
        ("running" | "stopped", State::Returning) => Ok(Wish::Wait),
        _ => Ok(Wish::Nothing),
    }
}

/// Whether these labels ask for this restart still.
pub(super) fn ask_for(labels: &Labels, restart: Restart) -> bool {
    wish(labels, State::Missing(None), Some(restart)) == Ok(Wish::Start(restart))
}

fn start(labels: &Labels, exit_status: u32, unfinished: Option<Restart>) -> Result<Wish, InvalidLabel> {
    let policy = value(labels, POLICY).parse()?;
    let count = match count(labels) {
        Err(error) if matches!(policy, Policy::OnFailure(_)) => return Err(error),
        count => count.unwrap_or_default(),
    };
    let number = unfinished.map_or(count.saturating_add(1), |restart| restart.number);
    let starts = match policy {
        Policy::No => false,
        Policy::Always => true,
        Policy::OnFailure(most) => exit_status != 0 && (most == 0 || number <= most),
        Policy::UnlessStopped => !is_true(value(labels, EXPLICITLY_STOPPED)),
    };
    Ok(match starts {
        true => Wish::Start(Restart { exit_status, number }),
        false => Wish::Nothing,
    })
}

/// Whether a task that ends under these labels may have to be started again.
pub(super) fn may_start(labels: &Labels) -> bool {
    value(labels, STATUS) == "running"
        && match value(labels, POLICY).parse() {
            Ok(Policy::No) | Err(_) => false,
            Ok(Policy::UnlessStopped) => !is_true(value(labels, EXPLICITLY_STOPPED)),
            Ok(Policy::Always | Policy::OnFailure(_)) => true,
        }
}

/// Writes down how many restarts there were.
pub(super) fn set_count(labels: &mut Labels, number: i64) {
    labels.insert(COUNT.into(), number.to_string());
}

/// Takes the restart of this number back, unless another was counted meanwhile.
pub(super) fn take_back_count(labels: &mut Labels, number: i64) {
    if count(labels).is_ok_and(|count| count == number) {
        match number {
            ..=1 => drop(labels.remove(COUNT)),
            _ => set_count(labels, number - 1),
        }
    }
}

/// Where the output of a task that is made anew goes; empty is nowhere.
pub(super) fn log_uri(labels: &Labels) -> &str {
    if labels.contains_key(LOG_PATH) {
        tracing::warn!("label {LOG_PATH} means nothing since containerd 2.0, use {LOG_URI}");
    }
    value(labels, LOG_URI)
}

fn count(labels: &Labels) -> Result<i64, InvalidLabel> {
    match value(labels, COUNT) {
        "" => Ok(0),
        text => text.parse().map_err(|_| InvalidLabel::Count(text.into())),
    }
}

fn value<'a>(labels: &'a Labels, key: &str) -> &'a str {
    labels.get(key).map_or("", String::as_str)
}

/// The words that Go's strconv.ParseBool takes for true.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

#[cfg(test)]
mod tests;
