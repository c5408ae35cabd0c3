//! What a creation or a restore that fails takes back.

use std::path::PathBuf;

use davit_cgroup::{Cgroup, CgroupError};
use davit_spec::Hooks;

use super::{destroy, record::Record, store::Folder};
use crate::{intel_rdt::Membership, log, rootfs::host_mount};

/// What there is of a container by now. Dropped, it is removed, and then the poststop hooks run: one that does not end
/// keeps nobody from the container's name.
///
/// Where processes cannot be got rid of, the folder stays: it says in which cgroup they are, for `delete --force`.
#[derive(Debug)]
pub(super) struct Undo<'a> {
    folder: &'a Folder,
    is_armed: bool,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
    /// Whether that is the container's, and whoever is in it.
    pub owns_cgroup: bool,
    /// Where its root was mounted, and what that mount is.
    pub root_mount: Option<(PathBuf, u64)>,
    /// Its share of the caches and of the memory bandwidth.
    pub intel_rdt: Option<Membership>,
    /// Whom the poststop hooks are to be told of, once there is something to stop.
    pub poststop: Option<(Record, Hooks)>,
}

impl<'a> Undo<'a> {
    /// There is only a folder yet.
    pub fn new(folder: &'a Folder) -> Self {
        Undo {
            folder,
            is_armed: true,
            cgroup: None,
            owns_cgroup: false,
            root_mount: None,
            intel_rdt: None,
            poststop: None,
        }
    }

    /// The container's folder.
    pub fn folder(&self) -> &Folder {
        self.folder
    }

    /// Everything has succeeded.
    pub fn disarm(mut self) {
        self.is_armed = false;
    }

    /// The cgroup, where it is the container's.
    pub fn own_cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref().filter(|_| self.owns_cgroup)
    }

    fn remove_cgroup(&self) -> Result<(), CgroupError> {
        match (self.own_cgroup(), &self.cgroup) {
            (Some(own), _) => destroy::empty_and_remove(own),
            (None, Some(other)) => other.destroy(),
            (None, None) => Ok(()),
        }
    }

    fn remove_mount(&self) {
        if let Some((rootfs, id)) = &self.root_mount
            && let Err(err) = host_mount::remove(rootfs, *id)
        {
            log::warn(&err.to_string());
        }
    }

    fn remove_membership(&self) {
        if let Some(membership) = &self.intel_rdt
            && let Err(err) = membership.remove()
        {
            log::warn(&err.to_string());
        }
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let emptied = self.remove_cgroup();
        self.remove_mount();
        self.remove_membership();
        if let Err(err) = emptied {
            return log::warn(&format!("{err}; delete --force removes what is left of the container"));
        }
        if let Err(err) = self.folder.remove() {
            return log::warn(&err.to_string());
        }
        if let Some((record, hooks)) = &self.poststop {
            destroy::run_poststop(record, hooks);
        }
    }
}
