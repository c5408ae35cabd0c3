//! Sources of mounts that the container's first process may not reach: binds in a user namespace, and devices that the
//! container's cgroup does not allow.
//!
//! They lie below somebody's private directory, but config.json names them, so the container has them. A short-lived
//! helper with the runtime's privileges opens each in the mount namespace of the container's first process. What it
//! hands over is a place in that namespace, and no copy of a mount of the host's: flags that are locked there (the
//! host's read-only, nosuid and the like) stay locked.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use davit_sys::{
    clone::{Fork, NEW_MOUNT, exit_now, fork, unshare},
    mount_attr::{MountAttr, PRIVATE, mount_setattr},
};
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    process::{WaitId, WaitIdOptions, waitid},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};

use crate::{
    errno::{Attempt, CallError},
    rootfs::{
        filesystem::filesystem,
        gate::Gate,
        mount::{MountError, Step},
        planned::Planned,
        source::tree,
    },
    talk::{Channel, FromChild},
};

/// The runtime's side: what may be asked for.
#[derive(Debug)]
pub struct Sources(Vec<(PathBuf, Planned)>);

impl Sources {
    /// Those of the config, by the place of their mounts.
    pub fn of(mounts: &[Planned], bundle: &Path) -> Self {
        let source = |planned: &Planned| (bundle.join(&planned.mount.source), planned.clone());
        Sources(mounts.iter().map(source).collect())
    }

    /// Answers the first process, which is `init`.
    pub fn serve(&self, init: &OwnedFd, index: u32, channel: &Channel) -> Result<(), CallError> {
        match fork(0, None).attempt("clone", "helper for mount source")? {
            Fork::Child => {
                let source = match self.0.get(index as usize) {
                    Some((path, planned)) => open_beside(init, path, planned),
                    None => Err(Kernel::INVAL),
                };
                let sent = channel.send_source(source.map_err(Kernel::raw_os_error));
                exit_now(i32::from(sent.is_err()))
            }
            Fork::Parent { pidfd, .. } => match has_answered(&pidfd) {
                true => Ok(()),
                // Killed, maybe for want of memory: the first process must not wait for ever.
                false => channel
                    .send_source(Err(Kernel::IO.raw_os_error()))
                    .attempt("answer", "container init"),
            },
        }
    }
}

/// Whether the helper came to its end.
fn has_answered(pidfd: &OwnedFd) -> bool {
    loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Kernel::INTR) => {}
            ended => return matches!(ended, Ok(Some(status)) if status.exit_status() == Some(0)),
        }
    }
}

/// A place; or, where its ids are to be mapped, which only the runtime may do, a detached copy of it.
fn open_beside(init: &OwnedFd, path: &Path, planned: &Planned) -> Result<OwnedFd, Kernel> {
    move_into_thread_name_spaces(init.as_fd(), ThreadNameSpaceType::MOUNT)?;
    match planned.ids {
        _ if planned.is_on_device() => on_device(planned).map_err(|err| err.errno()),
        Some(_) => tree(path, planned).map_err(|err| err.errno()),
        None => openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
    }
}

/// The file system on a device that the container's cgroup does not allow, as a detached mount.
fn on_device(planned: &Planned) -> Result<OwnedFd, MountError> {
    // Whatever has to be mounted on the way to it is seen by nobody.
    unshare(NEW_MOUNT).step("unshare mounts")?;
    let root = openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("open /")?;
    mount_setattr(root.as_fd(), true, &MountAttr::propagation(PRIVATE)).step("make private")?;
    let (mount, options) = (&planned.mount, &planned.options);
    filesystem(&Gate::new(root), &mount.kind, &mount.source, options)
}

/// The first process's side: opens the source of the mount at `index`, with the runtime's help where needed.
pub fn open(path: &Path, index: usize, channel: &Channel) -> Result<OwnedFd, Kernel> {
    match openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Kernel::ACCESS) => ask(index, channel),
        opened => opened,
    }
}

/// The same, always with the runtime's help.
pub fn ask(index: usize, channel: &Channel) -> Result<OwnedFd, Kernel> {
    channel.tell(FromChild::SourceDue(index as u32))?;
    channel.receive_source()
}
