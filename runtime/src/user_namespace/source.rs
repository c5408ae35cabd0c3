//! Sources of bind mounts that the root of a user namespace may not reach.
//!
//! They lie below somebody's private directory, but config.json names them, so the container has them. A short-lived
//! helper with the runtime's privileges opens each in the mount namespace of the container's first process. What it
//! hands over is a place in that namespace, and no copy of a mount of the host's: flags that are locked there (the
//! host's read-only, nosuid and the like) stay locked.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use davit_spec::Config;
use davit_sys::clone::{Fork, exit_now, fork};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    process::{WaitId, WaitIdOptions, waitid},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use crate::{
    errno::{Attempt, CallError},
    talk::{Channel, FromChild},
};

/// The runtime's side: what may be asked for.
#[derive(Debug)]
pub struct Sources(Vec<PathBuf>);

impl Sources {
    /// Those of the config, by the place of their mounts.
    pub fn of(config: &Config, bundle: &Path) -> Self {
        Sources(config.mounts.iter().map(|mount| bundle.join(&mount.source)).collect())
    }

    /// Answers the first process, which is `init`.
    pub fn serve(&self, init: &OwnedFd, index: u32, channel: &Channel) -> Result<(), CallError> {
        match fork(0, None).attempt("clone", "helper for mount source")? {
            Fork::Child => {
                let source = match self.0.get(index as usize) {
                    Some(path) => open_beside(init, path),
                    None => Err(Kernel::INVAL),
                };
                let _ = channel.send_source(source.map_err(Kernel::raw_os_error));
                exit_now(0)
            }
            Fork::Parent { pidfd, .. } => {
                let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
                Ok(())
            }
        }
    }
}

fn open_beside(init: &OwnedFd, path: &Path) -> Result<OwnedFd, Kernel> {
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::MOUNT)?;
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The first process's side: opens the source of the mount at `index`, with the runtime's help where needed.
pub fn open(path: &Path, index: usize, channel: &Channel) -> Result<OwnedFd, Kernel> {
    match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Kernel::ACCESS) => {
            channel.tell(FromChild::SourceDue(index as u32))?;
            channel.receive_source()
        }
        opened => opened,
    }
}
