//! Standard output or error, which somebody may read slowly or not at all: nothing here waits for them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat},
    io::{Errno as Kernel, write},
    termios::isatty,
};

/// The most that is kept where a write may have to wait: PIPE_BUF, for which a pipe that is said to have room has room.
pub(super) const PIECE: usize = 4096;

/// A piece of output on its way out.
pub(super) struct Outlet {
    given: BorrowedFd<'static>,
    /// The same once more, as it never blocks. The flag cannot be put on the one that we have been given: that is our
    /// caller's, too.
    own: Option<OwnedFd>,
    /// Whether a write never waits for a reader.
    takes_any: bool,
    /// What is not taken yet.
    piece: Vec<u8>,
}

impl Outlet {
    pub(super) fn new(given: BorrowedFd<'static>) -> Self {
        let own = reopened(given);
        Outlet {
            given,
            takes_any: own.is_some() || is_file(given),
            own,
            piece: Vec::new(),
        }
    }

    /// Whether it need not be asked for room.
    pub(super) fn takes_any(&self) -> bool {
        self.takes_any
    }

    /// How large a piece may be.
    pub(super) fn room(&self) -> usize {
        match self.takes_any {
            true => usize::MAX,
            false => PIECE,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.piece.is_empty()
    }

    /// Takes the next piece; there must be none.
    pub(super) fn put(&mut self, piece: &[u8]) {
        self.piece.extend(piece);
    }

    /// Writes what there is room for; to be called when there is some. What nobody will ever read is dropped, and said
    /// by false.
    pub(super) fn flush(&mut self) -> bool {
        match write(self.as_fd(), &self.piece) {
            Ok(length) => drop(self.piece.drain(..length)),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            Err(_) => {
                self.piece.clear();
                return false;
            }
        }
        true
    }
}

impl AsFd for Outlet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.own {
            Some(own) => own.as_fd(),
            None => self.given,
        }
    }
}

/// A terminal is said to have room that does not do for a piece, and a pipe may have other writers who are faster. Of a
/// terminal's other end (5, 2) there is no second, and a terminal may be a user's whom we are not any more: then a write
/// may have to wait.
fn reopened(given: BorrowedFd) -> Option<OwnedFd> {
    let stat = fstat(given).ok()?;
    let is_pipe = FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
    if !is_pipe && (!isatty(given) || stat.st_rdev == makedev(5, 2)) {
        return None;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(
        CWD,
        format!("/proc/self/fd/{}", given.as_raw_fd()),
        flags,
        Mode::empty(),
    )
    .ok()
}

fn is_file(given: BorrowedFd) -> bool {
    fstat(given).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
