//! A service in the foreground that tells its manager of its state.

use std::time::{Duration, Instant};

use rustix::process::getpid;

use crate::notify_socket::NotifySocket;

/// For how long messages of a service that has ended are still passed on, of those that its socket keeps.
const LONGEST_LAST_WORDS: Duration = Duration::from_secs(5);

/// The runtime stays and is what its manager watches. One message at a time: a service that says much must not keep
/// signals from being heard.
pub(super) fn pass_on(notifications: &NotifySocket) {
    notifications.forward(getpid().as_raw_pid());
}

/// Passes on what a service that has ended said last.
pub(super) fn last_words(notifications: &NotifySocket) {
    let end = Instant::now() + LONGEST_LAST_WORDS;
    while notifications.forward(getpid().as_raw_pid()).is_some() && Instant::now() < end {}
}
