//! What binds show, opened.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::io::Errno as Kernel;

use super::{
    bind,
    mount::{MountError, Step, copy, copy_of_host},
    planned::Planned,
};
use crate::{talk::Channel, user_namespace::source};

/// Opens what the mounts of a container show of the host.
#[derive(Debug)]
pub struct Sources<'p> {
    /// What relative paths are relative to.
    pub bundle: &'p Path,
    /// The runtime, which helps out with its privileges.
    pub runtime: &'p Channel,
    /// Whether those of the calling process are a user namespace's.
    pub in_user_namespace: bool,
}

impl Sources<'_> {
    /// A detached copy of what a bind is to show, with its ids mapped.
    pub(super) fn open(&self, planned: &Planned) -> Result<OwnedFd, MountError> {
        let path = self.bundle.join(&planned.mount.source);
        if !self.in_user_namespace {
            return tree(&path, planned);
        }
        if planned.ids.is_none() {
            let place = source::open(&path, planned.index, self.runtime);
            return place
                .and_then(|place| copy(place.as_fd(), planned.tree()))
                .step("open source");
        }
        source::ask(planned.index, self.runtime).map_err(|errno| match errno {
            Kernel::NOENT | Kernel::NOTDIR | Kernel::LOOP => MountError::Step("open source", errno.into()),
            errno => MountError::IdMap(errno.into()),
        })
    }

    /// A detached mount of a file system on a device that the calling process may not open. In a user namespace nobody
    /// may mount those.
    pub(super) fn on_device(&self, planned: &Planned) -> Result<OwnedFd, MountError> {
        if self.in_user_namespace || !planned.is_on_device() {
            return Err(Kernel::PERM).step("mount");
        }
        source::ask(planned.index, self.runtime).step("mount device")
    }
}

/// A detached copy of what `path` names in the mount namespace of the calling process, with its ids mapped.
pub(crate) fn tree(path: &Path, planned: &Planned) -> Result<OwnedFd, MountError> {
    let tree = copy_of_host(path, planned.tree()).step("open source")?;
    bind::map(&tree, planned)?;
    Ok(tree)
}
