//! Waiting for a condition, with a deadline and a name.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

/// Asks every 20 ms until `condition` gives a value; panics with `what` after `seconds`.
#[track_caller]
pub fn until<T>(what: &str, seconds: u64, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// [`until`] for a plain condition.
#[track_caller]
pub fn until_true(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    until(what, seconds, || condition().then_some(()));
}

/// [`until_true`] for a process that a signal is to stop.
#[track_caller]
pub fn until_stopped(what: &str, seconds: u64, pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    until_true(what, seconds, || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
    });
}
