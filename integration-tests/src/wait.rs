//! Waiting for a condition, with a deadline and a name.

use std::{
    fs, io,
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

/// A call on a socket with a time limit, again as often as a signal cuts it short. The kernel restarts no such call
/// (signal(7)), and one that is ignored does cut it short: the SIGCHLD that comes while a thread starts its next child,
/// with every signal blocked, wakes another thread of the tests before it is thrown away.
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// [`until_true`] for a process that a signal is to stop.
#[track_caller]
pub fn until_stopped(what: &str, seconds: u64, pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    until_true(what, seconds, || {
        fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))
    });
}
