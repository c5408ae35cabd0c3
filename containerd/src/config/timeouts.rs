//! The section `[timeouts]`, and durations as files have them.

use std::{collections::BTreeMap, time::Duration};

use davit_tasks::Timeouts;
use jiff::SignedDuration;

use super::ConfigError;

const PREFIX: &str = "io.containerd.timeout.";

type Field = fn(&mut Timeouts) -> &mut Duration;

/// Those that have an effect here.
const FIELDS: [(&str, Field); 4] = [
    ("shim.cleanup", |timeouts| &mut timeouts.clean_up),
    ("shim.load", |timeouts| &mut timeouts.load),
    ("shim.shutdown", |timeouts| &mut timeouts.shutdown),
    ("task.state", |timeouts| &mut timeouts.state),
];

pub(super) fn named(timeouts: &Timeouts) -> BTreeMap<String, String> {
    let named = |(name, field): (&str, Field)| {
        let duration = *field(&mut timeouts.clone());
        (format!("{PREFIX}{name}"), format!("{}s", duration.as_secs_f64()))
    };
    FIELDS.map(named).into()
}

pub(super) fn read(given: &BTreeMap<String, String>, notices: &mut Vec<String>) -> Result<Timeouts, ConfigError> {
    let mut timeouts = Timeouts::default();
    for (key, text) in given {
        match FIELDS.iter().find(|(name, _)| key.strip_prefix(PREFIX) == Some(name)) {
            Some((_, field)) => *field(&mut timeouts) = duration(&format!("timeouts.{key:?}"), text)?,
            None => notices.push(format!("timeouts.{key:?} has no effect here")),
        }
    }
    Ok(timeouts)
}

/// A duration as Go writes it: `1m30s`, `1.5s`, `100ms`.
pub(super) fn duration(key: &str, text: &str) -> Result<Duration, ConfigError> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    let positive = parsed.and_then(|duration| Duration::try_from(duration).ok());
    positive
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| ConfigError::Duration {
            key: key.into(),
            text: text.into(),
        })
}
