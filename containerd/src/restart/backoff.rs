//! How long to wait before a task is started again, as Docker does it.

use std::time::{Duration, Instant};

/// Before the first restart.
const FIRST: Duration = Duration::from_millis(100);
/// At most.
const LONGEST: Duration = Duration::from_secs(60);
/// A task that has run for so long did not fail to start: its next end is a first one.
const STEADY: Duration = Duration::from_secs(10);

/// The pauses of one container: each twice the last, until a task has run for a while.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    /// When a task was last started from here; `None` before the first time.
    started: Option<Instant>,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            next: FIRST,
            started: None,
        }
    }

    /// A task was started, or failed to be.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = Some(now);
    }

    /// The pause before the restart of a task that has ended now.
    pub(super) fn pause(&mut self, now: Instant) -> Duration {
        if self.is_over(now) {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }

    /// Whether nothing would be lost by beginning anew.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.started
            .is_none_or(|started| now.saturating_duration_since(started) >= STEADY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_begin_anew_after_a_task_that_has_run_for_ten_seconds() {
        let mut backoff = Backoff::new();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pause = backoff.pause(now);
            pauses.push(pause.as_millis());
            now += pause;
            backoff.started(now);
            now += Duration::from_secs(9);
        }
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
        );
        backoff.started(now);
        assert!(!backoff.is_over(now + Duration::from_secs(9)));
        assert_eq!(backoff.pause(now + Duration::from_secs(10)), FIRST);
    }
}
