//! `events`: resource usage now and then, and processes killed for want of memory.

use std::{
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use davit_cgroup::{Cgroup, OomNews, Stats};
use rustix::event::{PollFd, PollFlags};
use serde::Serialize;

use super::{CommandError, id, print};
use crate::{
    cli::Events,
    container::{record::Record, status::Status, store::Store},
    errno::{Attempt, CallError},
    log,
    poll::poll,
};

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

pub(super) fn run(store: &Store, args: &Events) -> Result<(), CommandError> {
    let (folder, record) = store.find(&id(&args.id)?)?;
    if args.interval.is_zero() {
        return Err(CommandError::Usage("duration interval must be greater than 0".into()));
    }
    if Status::of(&folder, &record) == Status::Stopped {
        return Err(CommandError::State(format!(
            "container with id {} is not running",
            record.id
        )));
    }
    let cgroup = record.cgroup()?;
    match args.stats {
        true => Ok(show(&record, "stats", Some(stats(&record, &cgroup)?))?),
        false => watch(&record, &cgroup, args.interval),
    }
}

fn stats(record: &Record, cgroup: &Cgroup) -> Result<Stats, CommandError> {
    let mut stats = cgroup.stats()?;
    if let Some(membership) = &record.intel_rdt {
        stats.intel_rdt = membership.stats()?;
    }
    Ok(stats)
}

/// Until the container ends.
fn watch(record: &Record, cgroup: &Cgroup, interval: Duration) -> Result<(), CommandError> {
    let mut oom = cgroup.watch_oom()?;
    let Some(init) = record.init.open().attempt("open", "container init")? else {
        return Ok(());
    };
    let mut next = Instant::now() + interval;
    loop {
        let ended = wait(oom.as_fd(), init.as_fd(), next)?;
        // Asked before the end is believed: the first process may be the one that was killed.
        match oom.news() {
            OomNews::Killed => show(record, "oom", None)?,
            OomNews::Ended => return Ok(()),
            OomNews::Nothing => {}
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            match stats(record, cgroup) {
                Ok(stats) => show(record, "stats", Some(stats))?,
                Err(err) => log::error(&err.to_string()),
            }
            next += interval;
        }
    }
}

/// Waits for news or the next moment; whether the first process has ended.
fn wait(news: BorrowedFd, init: BorrowedFd, until: Instant) -> Result<bool, CallError> {
    let left = until.saturating_duration_since(Instant::now());
    let mut fds = [
        PollFd::from_borrowed_fd(news, PollFlags::IN),
        PollFd::from_borrowed_fd(init, PollFlags::IN),
    ];
    poll(&mut fds, Some(left)).attempt("wait for", "events")?;
    Ok(!fds[1].revents().is_empty())
}

fn show(record: &Record, kind: &str, data: Option<Stats>) -> Result<(), CallError> {
    let event = Event {
        r#type: kind,
        id: &record.id,
        data,
    };
    let line = serde_json::to_string(&event).expect("statistics are numbers");
    print(&format!("{line}\n"))
}
