//! Clocks of a time namespace.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Linux, NamespaceKind, SpecError};

/// Nanoseconds of a second.
const SECOND: u32 = 1_000_000_000;
/// The clocks that a time namespace has, by the kernel's names.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

/// How far a clock of the container is ahead of the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Whole seconds, negative for a clock that is behind.
    pub secs: i64,
    /// And nanoseconds, below a second.
    pub nanosecs: u32,
}

/// The offsets in the form of /proc/PID/timens_offsets.
pub fn table(offsets: &BTreeMap<String, TimeOffset>) -> String {
    offsets
        .iter()
        .map(|(clock, offset)| format!("{clock} {} {}\n", offset.secs, offset.nanosecs))
        .collect()
}

pub(crate) fn validate(linux: &Linux) -> Result<(), SpecError> {
    match linux.namespace(NamespaceKind::Time) {
        _ if linux.time_offsets.is_empty() => return Ok(()),
        None => {
            return Err(SpecError::Shape(
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            ));
        }
        Some(namespace) if !namespace.is_new() => {
            return Err(SpecError::Shape(
                "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
            ));
        }
        Some(_) => {}
    }
    for (clock, offset) in &linux.time_offsets {
        if !CLOCKS.contains(&clock.as_str()) {
            return Err(SpecError::Value {
                field: "linux.timeOffsets",
                value: clock.clone(),
                problem: "is no clock of a time namespace: monotonic and boottime are",
            });
        }
        if offset.nanosecs >= SECOND {
            return Err(SpecError::Value {
                field: "linux.timeOffsets nanosecs",
                value: offset.nanosecs.to_string(),
                problem: "must be less than a second",
            });
        }
    }
    Ok(())
}
