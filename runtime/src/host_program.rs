//! Programs that are run on the way and waited for: hooks, of the host or of the container, and helpers with a privilege
//! that we lack.

use std::{
    fs::File,
    io::{self, Read, Seek},
    iter,
    os::fd::{AsFd, BorrowedFd},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{errno::Errno, poll::poll};

/// How much of what a program says is repeated, per stream.
const MAX_OUTPUT: u64 = 4096;

/// How the waiting for a program came to its end.
#[derive(Debug)]
pub enum End {
    /// The program has ended.
    Exited(ExitStatus),
    /// It had no more time.
    TimedOut,
    /// What it was run for is gone.
    Abandoned,
}

/// A file for one of a program's streams.
///
/// Not a pipe: a program that does not read would keep us from minding its limit, one that says much would wait for a
/// reader, and one that leaves a daemon behind keep us waiting.
pub fn memory() -> io::Result<File> {
    Ok(memfd_create("stream", MemfdFlags::CLOEXEC)?.into())
}

/// The beginning of what a program has said; a diagnosis that cannot be read is none.
pub fn text(output: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = output
        .rewind()
        .and_then(|()| output.take(MAX_OUTPUT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// Waits for a program, for a limited time perhaps, and perhaps for as long only as a process lives. What has not ended
/// by then is killed.
pub fn wait(child: &mut Child, limit: Option<Duration>, process: Option<BorrowedFd>) -> Result<End, Errno> {
    let first = match limit.is_some() || process.is_some() {
        true => first_end(child, limit, process),
        false => Ok(First::Program),
    };
    let end = match first {
        Ok(First::Program) => return Ok(End::Exited(child.wait()?)),
        Ok(First::Time) => Ok(End::TimedOut),
        Ok(First::Process) => Ok(End::Abandoned),
        Err(errno) => Err(errno),
    };
    // One with other privileges than ours may be out of our reach.
    if child.kill().is_ok() {
        let _ = child.wait();
    }
    end
}

/// What comes to its end first.
enum First {
    Program,
    Time,
    Process,
}

fn first_end(child: &Child, limit: Option<Duration>, process: Option<BorrowedFd>) -> Result<First, Errno> {
    let program = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    // One that the clock cannot hold is none.
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    let fds = iter::once(program.as_fd()).chain(process);
    let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match poll(&mut fds, left)? {
            0 if left.is_some_and(|left| left.is_zero()) => return Ok(First::Time),
            0 => {}
            _ if fds[0].revents().is_empty() => return Ok(First::Process),
            _ => return Ok(First::Program),
        }
    }
}
