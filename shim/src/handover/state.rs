//! What goes over: all that the shim knows, as JSON.
//!
//! A program reads the states of all earlier versions: fields are only added, with a default. What an older program would misread has a
//! new [`VERSION`], and is refused by it.

use std::path::PathBuf;

use davit_luggage::{Bytes, Fd};
use serde::{Deserialize, Serialize};

use crate::{server::ServerState, service::TasksState};

/// The version of the state that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// All that the shim knows.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// See [`VERSION`].
    pub version: u32,
    /// The program that was asked for.
    pub program: PathBuf,
    /// The program before it, which goes on if this one cannot.
    pub previous: Option<Fd>,
    /// Why this program, which was before, goes on.
    #[serde(default)]
    pub failure: Option<String>,
    /// Where the log goes.
    pub log: Option<Fd>,
    /// Connections and their calls.
    pub server: ServerState,
    /// Events that the manager has not taken.
    pub events: Vec<Bytes>,
    /// Children that are asked to end, and how many milliseconds each has left.
    pub ending: Vec<(u32, u64)>,
    /// Containers and their sandbox.
    pub tasks: TasksState,
    /// How many descriptors go over with it.
    #[serde(default)]
    pub descriptors: usize,
}

/// A state that this program does not understand.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is of a newer program.
    #[error("the state has version {0}; this program reads versions up to {VERSION}")]
    Newer(u32),
    /// It is no state.
    #[error("cannot read the state: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

impl State {
    /// Reads a state.
    pub fn parse(json: &[u8]) -> Result<Self, Unreadable> {
        let Version { version } = serde_json::from_slice(json)?;
        if version > VERSION {
            return Err(Unreadable::Newer(version));
        }
        Ok(serde_json::from_slice(json)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{"version":1,"program":"/p","previous":1,"log":null,"server":{"listener":0,"connections":[]},
        "events":[],"ending":[],"tasks":{"containers":[],"sandbox":null,"is_leaving":false}}"#;

    #[test]
    fn a_state_of_a_newer_program_is_refused_whatever_else_is_in_it() {
        let error = State::parse(br#"{"version":2,"new":{}}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state has version 2; this program reads versions up to 1"
        );
    }

    #[test]
    fn a_state_of_the_first_program_is_read() {
        assert_eq!(State::parse(FIRST.as_bytes()).unwrap().program, PathBuf::from("/p"));
        for broken in ["", "{}", "[1]", &FIRST[1..], &FIRST[..70]] {
            assert!(
                matches!(State::parse(broken.as_bytes()), Err(Unreadable::Json(_))),
                "{broken}"
            );
        }
    }
}
