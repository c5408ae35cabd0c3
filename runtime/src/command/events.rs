//! `events`: resource usage, now and then.

use std::{thread::sleep, time::Duration};

use davit_cgroup::{Cgroup, Stats};
use serde::Serialize;

use super::{CommandError, id, print};
use crate::{
    cli::Events,
    container::{status::Status, store::Store},
};

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    data: Stats,
}

pub(super) fn run(store: &Store, args: &Events) -> Result<(), CommandError> {
    let interval = interval(&args.interval)
        .ok_or_else(|| CommandError::Usage(format!("duration {:?} must be greater than 0", args.interval)))?;
    let (folder, record) = store.find(&id(&args.id)?)?;
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(CommandError::State(format!(
            "container with id {} is not running",
            record.id
        )));
    }
    let cgroup = Cgroup::from_paths(&record.cgroup_paths)?;
    loop {
        let event = Event {
            r#type: "stats",
            id: &record.id,
            data: cgroup.stats()?,
        };
        print(&format!(
            "{}\n",
            serde_json::to_string(&event).expect("statistics are numbers")
        ))?;
        if args.stats {
            return Ok(());
        }
        sleep(interval);
        if !record.init.is_alive() {
            return Ok(());
        }
    }
}

/// A number and a unit, as Go writes durations; one of each.
fn interval(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..split].parse().ok()?;
    let interval = match &text[split..] {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    (!interval.is_zero()).then_some(interval)
}
