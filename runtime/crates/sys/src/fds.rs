//! The table of open files as a whole.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 1 << 2;

/// Marks every fd from `first` on close-on-exec (close_range(2), the flag since Linux 5.11).
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: the flag only changes what the next execve does; no fd is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Closes every fd from `first` on. Only for the very beginning of a program, which owns none of them yet: it rids the
/// program of what its caller forgot to mark close-on-exec.
pub fn close_inherited_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range takes three integers; that nobody owns these fds is the caller's promise above.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Puts copies of `fds` at the numbers from `first` on, where the next program finds them; all above is closed by its
/// execve. Only for a forked child that is about to execute: whatever had those numbers before is gone.
pub fn hand_down(first: RawFd, fds: &[BorrowedFd]) -> io::Result<()> {
    let end = first + fds.len() as RawFd;
    // Copies out of the way first, since what is to be passed may lie where something else is to go.
    let mut copies = Vec::with_capacity(fds.len());
    for fd in fds {
        // SAFETY: F_DUPFD_CLOEXEC makes a new fd at a number that nobody has.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, end) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        copies.push(copy);
    }
    for (number, copy) in (first..).zip(copies) {
        // SAFETY: dup2 closes what had the number; that nobody uses it any more is the caller's promise above.
        if unsafe { libc::dup2(copy, number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    close_on_exec_from(end as u32)
}

/// Takes over an fd that the caller's parent handed down by its number, so that it can be closed. The number must be
/// said by a person, and asked for once: nothing of our own may have it.
pub fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_SETFD answers EBADF for a closed fd, and otherwise changes what the next execve does.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the fd is open, and that nobody else here owns it is the caller's promise above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Whether `fd` is open.
pub fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag and answers EBADF for a closed fd.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// A copy of an fd that the caller's parent handed down by its number.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC answers EBADF for a closed fd.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the fd was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
