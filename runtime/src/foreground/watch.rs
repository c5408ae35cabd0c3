//! Waiting for several descriptors at once.

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::event::{PollFd, PollFlags};

use crate::{
    errno::{Attempt, CallError},
    poll::poll,
};

/// Waits until one of the descriptors is as wanted, or until the time is over, and says how each is. One of which nothing
/// is wanted is left out: else the end of its other side, which nobody can unwant, would end the wait.
pub(super) fn watch<const N: usize>(
    wanted: [(BorrowedFd, PollFlags); N],
    limit: Option<Duration>,
) -> Result<[PollFlags; N], CallError> {
    let is_watched = |flags: PollFlags| !flags.is_empty();
    let mut fds: Vec<_> = wanted
        .iter()
        .filter(|(_, flags)| is_watched(*flags))
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    poll(&mut fds, limit).attempt("poll", "terminal")?;
    let mut found = fds.iter().map(PollFd::revents);
    Ok(wanted.map(|(_, flags)| match is_watched(flags) {
        true => found.next().unwrap_or(PollFlags::empty()),
        false => PollFlags::empty(),
    }))
}
