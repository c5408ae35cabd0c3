//! `update`: other limits for a container that runs.

use std::{fs, io::Read, path::Path};

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::{CommandError, id};
use crate::{
    cli::Update,
    container::{status::Status, store::Store},
    errno::Attempt,
};

pub(super) fn run(store: &Store, args: &Update) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(CommandError::State("container not running".into()));
    }
    let wanted = match &args.resources {
        Some(path) => from_file(path)?,
        None => from_flags(args)?,
    };
    Ok(record.cgroup()?.with_resources(&wanted)?.update()?)
}

fn from_file(path: &Path) -> Result<LinuxResources, CommandError> {
    let mut json = Vec::new();
    match path.to_str() {
        Some("-") => std::io::stdin()
            .read_to_end(&mut json)
            .attempt("read", "standard input")
            .map(drop)?,
        _ => json = fs::read(path).attempt("read", path.display())?,
    }
    serde_json::from_slice(&json).map_err(|err| CommandError::Usage(format!("resources: {err}")))
}

/// The flags in the form of `linux.resources`, of which they are a part.
fn from_flags(args: &Update) -> Result<LinuxResources, CommandError> {
    let cpu = object([
        ("shares", json!(args.cpu_share)),
        ("quota", json!(args.cpu_quota)),
        ("burst", json!(args.cpu_burst)),
        ("period", json!(args.cpu_period)),
        ("realtimeRuntime", json!(args.cpu_rt_runtime)),
        ("realtimePeriod", json!(args.cpu_rt_period)),
        ("cpus", json!(args.cpuset_cpus)),
        ("mems", json!(args.cpuset_mems)),
        ("idle", json!(args.cpu_idle)),
    ]);
    let memory = object([
        ("limit", json!(bytes("memory", args.memory.as_deref())?)),
        (
            "reservation",
            json!(bytes("memory-reservation", args.memory_reservation.as_deref())?),
        ),
        ("swap", json!(bytes("memory-swap", args.memory_swap.as_deref())?)),
    ]);
    let pids = object([("limit", json!(args.pids_limit))]);
    let block = object([("weight", json!(args.blkio_weight))]);
    let resources = object([("cpu", cpu), ("memory", memory), ("pids", pids), ("blockIO", block)]);
    let resources = if resources.is_null() { json!({}) } else { resources };
    serde_json::from_value(resources).map_err(|err| CommandError::Usage(format!("resources: {err}")))
}

/// An object of what is there, or nothing at all.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let map: Map<String, Value> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.into(), value))
        .collect();
    if map.is_empty() {
        Value::Null
    } else {
        Value::Object(map)
    }
}

/// `-1`, a number of bytes, or one with a unit of 1024: `512k`, `1g`.
fn bytes(flag: &str, text: Option<&str>) -> Result<Option<i64>, CommandError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let lower = text.to_ascii_lowercase();
    let trimmed = lower.trim_end_matches('b');
    let (number, unit) = match trimmed.char_indices().last() {
        Some((at, 'k')) => (&trimmed[..at], 1 << 10),
        Some((at, 'm')) => (&trimmed[..at], 1 << 20),
        Some((at, 'g')) => (&trimmed[..at], 1 << 30),
        Some((at, 't')) => (&trimmed[..at], 1 << 40),
        _ => (trimmed, 1),
    };
    let value = number.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    value
        .map(Some)
        .ok_or_else(|| CommandError::Usage(format!("invalid value for {flag}: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_may_have_a_unit() {
        for (text, number) in [
            ("-1", -1),
            ("4096", 4096),
            ("512k", 524_288),
            ("1G", 1 << 30),
            ("2mb", 2 << 20),
        ] {
            assert_eq!(bytes("memory", Some(text)).unwrap(), Some(number), "{text}");
        }
        assert!(bytes("memory", Some("much")).is_err());
    }
}
