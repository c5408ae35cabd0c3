//! Into which v2 cgroup a new process is forked.

use std::{
    cell::Cell,
    io,
    os::fd::{AsFd, OwnedFd},
};

use davit_cgroup::Cgroup;
use davit_sys::clone::{Fork, fork};
use rustix::io::Errno as Kernel;

use super::{ExecError, sub_cgroup::SubCgroupError};
use crate::{
    enter::{self, Visit},
    log,
};

/// The container's cgroup, and what to do where the kernel does not let a process in.
pub(super) struct WayIn {
    cgroup: Cgroup,
    directory: Option<OwnedFd>,
    /// A cgroup v2 that hands controllers on takes no processes itself: then it is where the first process went.
    elsewhere: Option<OwnedFd>,
    named: bool,
    rootless: bool,
    refusal: Cell<Option<Kernel>>,
}

impl WayIn {
    pub(super) fn of(visit: &Visit) -> Result<Self, ExecError> {
        Ok(WayIn {
            directory: visit.cgroup.clone_fd()?,
            elsewhere: match visit.cgroup_is_named {
                true => None,
                false => enter::cgroup_of(&visit.cgroup, visit.init_pid),
            },
            cgroup: visit.cgroup.clone(),
            named: visit.cgroup_is_named,
            rootless: visit.rootless,
            refusal: Cell::new(None),
        })
    }

    pub(super) fn fork(&self) -> io::Result<Fork> {
        let forked = fork(0, self.directory.as_ref().map(|fd| fd.as_fd()));
        let Err(err) = &forked else { return forked };
        let refusal = Kernel::from_io_error(err);
        self.refusal.set(refusal);
        match (refusal, &self.elsewhere) {
            (Some(Kernel::BUSY), Some(elsewhere)) => fork(0, Some(elsewhere.as_fd())),
            // An ordinary user may not move a process out of his session; his systemd may: see [`WayIn::follow`].
            (Some(Kernel::ACCESS), _) if self.rootless && !self.named => fork(0, None),
            _ => forked,
        }
    }

    /// Says it in the words of runc, where the cgroup is what does not let the process in.
    pub(super) fn explain(&self, err: ExecError) -> ExecError {
        match (self.refusal.get(), self.cgroup.paths().get("")) {
            (Some(Kernel::BUSY), Some(directory)) if self.named => {
                SubCgroupError::Busy(directory.display().to_string()).into()
            }
            _ => err,
        }
    }

    /// Moves the process in that could not be forked there, as far as that goes: the container runs without, too.
    pub(super) fn follow(&self, pid: i32) {
        if self.refusal.get() == Some(Kernel::ACCESS)
            && let Err(err) = self.cgroup.attach(pid)
        {
            log::debug(format_args!(
                "process {pid} stays outside of the container's cgroup: {err}"
            ));
        }
    }
}
