//! poll(2) with a [`Duration`] for its limit.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{self, PollFd, PollFlags, Timespec},
    io::Errno as Kernel,
};

/// Waits until one of the descriptors is as wanted, until the time is over, or until a signal comes; how many are.
pub fn poll(fds: &mut [PollFd], limit: Option<Duration>) -> Result<usize, Kernel> {
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    });
    match event::poll(fds, limit.as_ref()) {
        Err(Kernel::INTR) => Ok(0),
        result => result,
    }
}

/// Whether a descriptor can be read within a limit, which for a pidfd says that its process has ended.
pub fn is_readable_within(fd: BorrowedFd, limit: Duration) -> Result<bool, Kernel> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, Some(left))? {
            0 if !left.is_zero() => {}
            count => return Ok(count > 0),
        }
    }
}
