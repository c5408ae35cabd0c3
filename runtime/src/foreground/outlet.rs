//! Standard output, which somebody may read slowly or not at all: nothing here waits for them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat},
    io::{Errno as Kernel, write},
    stdio::stdout,
    termios::isatty,
};

/// The most that is kept: PIPE_BUF, for which a pipe that is said to have room has room.
pub(super) const PIECE: usize = 4096;

/// A piece of output on its way out.
pub(super) struct Outlet {
    /// Standard output once more, as it never blocks. The flag cannot be put on the one that we have been given: that is
    /// our caller's, too.
    own: Option<OwnedFd>,
    /// What is not taken yet.
    piece: Vec<u8>,
}

impl Outlet {
    pub(super) fn new() -> Self {
        Outlet {
            own: reopened(),
            piece: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.piece.is_empty()
    }

    /// Takes the next piece; there must be none.
    pub(super) fn put(&mut self, piece: &[u8]) {
        self.piece.extend(piece);
    }

    /// Writes what there is room for; to be called when there is some. What nobody will ever read is dropped.
    pub(super) fn flush(&mut self) {
        match write(self.as_fd(), &self.piece) {
            Ok(length) => drop(self.piece.drain(..length)),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            Err(_) => self.piece.clear(),
        }
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.own {
            Some(own) => own.as_fd(),
            None => stdout(),
        }
    }
}

/// A terminal is said to have room that does not do for a piece, and a pipe may have other writers who are faster. Of a
/// terminal's other end (5, 2) there is no second, and a terminal may be a user's whom we are not any more: then a write
/// may have to wait.
fn reopened() -> Option<OwnedFd> {
    let stat = fstat(stdout()).ok()?;
    let is_pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if !is_pipe && (!isatty(stdout()) || stat.st_rdev == makedev(5, 2)) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, "/proc/self/fd/1", flags, Mode::empty()).ok()
}
