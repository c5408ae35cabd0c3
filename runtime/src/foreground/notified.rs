//! A service in the foreground that tells its manager of its state.

use rustix::process::getpid;

use crate::notify_socket::NotifySocket;

/// How many messages of a service that has ended are still passed on, of those that its socket keeps.
const MOST_LAST_WORDS: usize = 16;

/// The runtime stays and is what its manager watches. One message at a time: a service that says much must not keep
/// signals from being heard.
pub(super) fn pass_on(notifications: &NotifySocket) {
    notifications.forward(getpid().as_raw_pid());
}

/// Passes on what a service that has ended said last.
pub(super) fn last_words(notifications: &NotifySocket) {
    (0..MOST_LAST_WORDS).for_each(|_| pass_on(notifications));
}
