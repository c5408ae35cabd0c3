//! Hearing of processes that are killed for want of memory.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fs::inotify::{self, CreateFlags, WatchFlags},
    io::{Errno, read},
};

use crate::{CgroupError, Result, control_file};

/// Where v1 counts those that were killed, since Linux 4.13.
pub(crate) const V1_COUNT: &str = "memory.oom_control";
/// Where v2 does.
pub(crate) const V2_COUNT: &str = "memory.events";

/// What has happened since it was last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomNews {
    /// Nothing that matters.
    Nothing,
    /// The limit was hit, and somebody killed.
    Killed,
    /// The cgroup is gone, or nobody is in it any more.
    Ended,
}

/// A descriptor that becomes readable when there may be news.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// An eventfd that the kernel writes to.
    V1 { _oom_control: File },
    /// An inotify instance, and how many were killed when it was last looked at.
    V2 { killed: u64 },
}

impl OomWatch {
    /// `dir` is that of the memory controller.
    pub(crate) fn v1(dir: &Path) -> Result<Self> {
        let failed = |source| CgroupError::Read {
            path: dir.join(V1_COUNT),
            source,
        };
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|err| failed(err.into()))?;
        let oom_control = File::open(dir.join(V1_COUNT)).map_err(failed)?;
        let registration = format!("{} {}", fd.as_raw_fd(), oom_control.as_raw_fd());
        control_file::write(dir, "cgroup.event_control", &registration)?;
        Ok(OomWatch {
            fd,
            dir: dir.into(),
            kind: Kind::V1 {
                _oom_control: oom_control,
            },
        })
    }

    pub(crate) fn v2(dir: &Path) -> Result<Self> {
        let failed = |errno: Errno| CgroupError::Read {
            path: dir.join(V2_COUNT),
            source: errno.into(),
        };
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        for file in [V2_COUNT, "cgroup.events"] {
            inotify::add_watch(&fd, dir.join(file), WatchFlags::MODIFY).map_err(failed)?;
        }
        Ok(OomWatch {
            fd,
            dir: dir.into(),
            kind: Kind::V2 {
                killed: killed(dir, V2_COUNT),
            },
        })
    }

    /// Says what the descriptor has become readable for.
    pub fn news(&mut self) -> OomNews {
        let mut buffer = [0; 4096];
        let happened = read(&self.fd, &mut buffer).is_ok();
        match &mut self.kind {
            // The kernel also writes when the cgroup is removed.
            Kind::V1 { .. } if !self.dir.exists() => OomNews::Ended,
            Kind::V1 { .. } if happened => OomNews::Killed,
            Kind::V1 { .. } => OomNews::Nothing,
            Kind::V2 { killed: known } => {
                let now = killed(&self.dir, V2_COUNT);
                if now > *known {
                    *known = now;
                    OomNews::Killed
                } else if is_empty(&self.dir) {
                    OomNews::Ended
                } else {
                    OomNews::Nothing
                }
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many were killed so far, by the file that counts them; none where it does not.
pub(crate) fn killed(dir: &Path, file: &str) -> u64 {
    let events = fs::read_to_string(dir.join(file)).unwrap_or_default();
    control_file::value_of(&events, "oom_kill").unwrap_or_default()
}

fn is_empty(dir: &Path) -> bool {
    let events = fs::read_to_string(dir.join("cgroup.events")).unwrap_or_default();
    control_file::value_of(&events, "populated").unwrap_or_default() == 0
}
