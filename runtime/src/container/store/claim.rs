//! The lock on a container's folder, held by whoever makes or removes the container.
//!
//! Without it `delete --force` could take a folder that `create` has just made for what a killed creation has left, and
//! one of two creations that fail could remove the other's. The kernel gives the lock back when its holder dies.

use std::{
    os::fd::OwnedFd,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, statat},
    io::Errno as Kernel,
};

use super::StoreError;
use crate::errno::Attempt;

const PAUSE: Duration = Duration::from_millis(10);

/// Held for as long as this lives, and by a child that was forked meanwhile until that closes it, too.
#[derive(Debug)]
pub struct Claim {
    _directory: OwnedFd,
}

impl Claim {
    /// Whether somebody has it now.
    pub(super) fn is_held(folder: &Path) -> bool {
        open(folder)
            .is_ok_and(|directory| flock(directory, FlockOperation::NonBlockingLockShared) == Err(Kernel::AGAIN))
    }

    pub(super) fn of(folder: &Path, patience: Duration) -> Result<Option<Claim>, StoreError> {
        let directory = match open(folder) {
            Err(Kernel::NOENT) => return Ok(None),
            directory => directory.attempt("open", folder.display())?,
        };
        let end = Instant::now() + patience;
        loop {
            match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Kernel::AGAIN | Kernel::INTR) if Instant::now() < end => sleep(PAUSE),
                Err(Kernel::AGAIN | Kernel::INTR) => return Err(StoreError::Claimed(folder.to_owned())),
                Err(errno) => return Err(errno).attempt("lock", folder.display()).map_err(StoreError::Call),
            }
        }
        // Whoever held it before may have removed the folder, and somebody else have made another of its name.
        let own = fstat(&directory).attempt("inspect", folder.display())?;
        match statat(CWD, folder, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) => {
                Ok(Some(Claim { _directory: directory }))
            }
            Ok(_) | Err(Kernel::NOENT) => Ok(None),
            Err(errno) => Err(errno)
                .attempt("inspect", folder.display())
                .map_err(StoreError::Call),
        }
    }
}

fn open(folder: &Path) -> Result<OwnedFd, Kernel> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, folder, flags, Mode::empty())
}
