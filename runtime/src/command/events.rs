//! `events`: resource usage, now and then.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use davit_cgroup::Stats;
use serde::Serialize;

use super::{CommandError, id, print};
use crate::{
    cli::Events,
    container::{record::Record, status::Status, store::Store},
};

/// How often the count of killed processes is looked at.
const WATCH: Duration = Duration::from_millis(250);

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
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
    let cgroup = record.cgroup()?;
    let show = |kind, data| {
        let event = Event {
            r#type: kind,
            id: &record.id,
            data,
        };
        print(&format!(
            "{}\n",
            serde_json::to_string(&event).expect("statistics are numbers")
        ))
    };
    let mut killed = oom_kills(&record);
    loop {
        show("stats", Some(cgroup.stats()?))?;
        if args.stats {
            return Ok(());
        }
        let next = Instant::now() + interval;
        while record.init.is_alive() && Instant::now() < next {
            sleep(WATCH.min(next.saturating_duration_since(Instant::now())));
            let now = oom_kills(&record);
            if now > killed {
                show("oom", None)?;
            }
            killed = now;
        }
        if !record.init.is_alive() {
            return Ok(());
        }
    }
}

/// How many of the container's processes the kernel has killed for want of memory.
fn oom_kills(record: &Record) -> Option<u64> {
    let files = [("memory", "memory.oom_control"), ("", "memory.events")];
    files.iter().find_map(|(controller, file)| {
        let text = fs::read_to_string(record.cgroup_paths.get(*controller)?.join(file)).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    })
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
