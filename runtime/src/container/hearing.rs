//! Hearing a container's first process, which somebody may have stopped or frozen: then it says nothing, for ever.

use std::time::{Duration, Instant};

use super::record::Record;
use crate::{
    errno::{Attempt, CallError},
    talk::{Channel, FromChild, Heard},
};

/// How long it may be held up before it is given up. One that runs may take its time: it may have hooks.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Why it was not heard.
#[derive(Debug, thiserror::Error)]
pub enum HearError {
    /// It cannot speak.
    #[error("its first process, pid {pid}, has been {how} for {patience} seconds", patience = PATIENCE.as_secs())]
    HeldUp {
        /// Its pid.
        pid: i32,
        /// By what.
        how: &'static str,
    },
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What it says next.
pub fn hear(channel: &Channel, record: &Record) -> Result<Option<FromChild>, HearError> {
    loop {
        await_message(channel, record)?;
        if let Heard::Word(word) = channel.hear_one().attempt("hear", "container init")? {
            return Ok(word);
        }
    }
}

fn await_message(channel: &Channel, record: &Record) -> Result<(), HearError> {
    let mut held_up = None;
    while !channel.speaks_within(LOOK).attempt("wait for", "container init")? {
        let Some(how) = held_up_how(record) else {
            held_up = None;
            continue;
        };
        if held_up.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(HearError::HeldUp {
                pid: record.init.pid,
                how,
            });
        }
    }
    Ok(())
}

fn held_up_how(record: &Record) -> Option<&'static str> {
    let frozen = || record.cgroup().and_then(|cgroup| cgroup.frozen());
    match record.init.is_stopped() {
        true => Some("stopped by a signal"),
        false => frozen().unwrap_or(false).then_some("frozen"),
    }
}
