//! Reports of what happens again and again.

use std::time::{Duration, Instant};

/// How often the same is reported at most.
const PAUSE: Duration = Duration::from_secs(60);

/// When something was reported last.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether it is to be reported now.
    pub fn now(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() > PAUSE);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
