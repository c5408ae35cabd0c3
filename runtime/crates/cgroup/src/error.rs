//! What can go wrong with a cgroup.

use std::{io, path::PathBuf};

/// Why a cgroup could not be planned, made, limited, entered or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// No cgroup file system is mounted.
    #[error("no cgroup file system is mounted")]
    NotMounted,
    /// The path names a hierarchy's root, which belongs to the machine.
    #[error("cgroupsPath {0:?} names the root cgroup")]
    RootPath(String),
    /// A path in systemd's `slice:prefix:name` form.
    #[error("cgroupsPath {0:?} is in systemd's form, which needs the systemd cgroup driver (--systemd-cgroup)")]
    SystemdPath(String),
    /// systemd, which manages the cgroup.
    #[error(transparent)]
    Systemd(#[from] crate::systemd::SystemdError),
    /// A container that was made without a cgroup of its own.
    #[error("the container has no cgroup of its own (the cgroup manager was disabled, or permission was denied)")]
    NoCgroup,
    /// Limits, or a path, that an unprivileged user cannot have.
    #[error("rootless needs no limits + no cgrouppath when no permission is granted for cgroups: {0}")]
    Rootless(Box<CgroupError>),
    /// A limit whose controller is not mounted or not enabled.
    #[error("limit {limit} needs the cgroup controller {controller:?}, which is not available")]
    MissingController {
        /// The controller's name.
        controller: &'static str,
        /// The limit, as the specification calls it.
        limit: &'static str,
    },
    /// `resources.unified` on a machine without a pure v2 hierarchy.
    #[error("resources.unified needs cgroup v2")]
    UnifiedNeedsV2,
    /// A key of `resources.unified` that is no plain file name.
    #[error("unified resource {0:?} must be a file name (no slashes)")]
    UnifiedKey(String),
    /// A value that no kernel takes.
    #[error("{0}")]
    InvalidLimit(String),
    /// A memory limit below what is in use.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        /// The limit asked for.
        limit: i64,
        /// Bytes in use.
        usage: u64,
        /// The most bytes ever in use.
        peak: u64,
    },
    /// A rule that says nothing about access.
    #[error("device access at {0} field cannot be empty")]
    DeviceAccess(usize),
    /// A rule of the device list that cannot be read.
    #[error("device rule {0:?} is not valid")]
    DeviceRule(String),
    /// A rule that takes devices out of a range, which the v1 controller would ignore.
    #[error("device rule {rule:?} would make a hole in the range {range:?}, which is not supported")]
    DeviceHole {
        /// The rule.
        rule: String,
        /// The devices of an earlier rule.
        range: String,
    },
    /// Somebody else runs in this cgroup.
    #[error("container's cgroup is not empty: {0} process(es) found")]
    NotEmpty(usize),
    /// A process that entered it would never run.
    #[error("container's cgroup unexpectedly frozen")]
    Frozen,
    /// An ancestor is in a mode in which domain controllers cannot be used.
    #[error("cannot enter cgroup {path:?} with domain controllers: it is in {mode} mode")]
    Threaded {
        /// The cgroup.
        path: PathBuf,
        /// The contents of its `cgroup.type`.
        mode: String,
    },
    /// The processes did not all stop in time.
    #[error("unable to freeze cgroup {0:?}")]
    FreezeTimeout(PathBuf),
    /// The paths of an existing cgroup fit no mounted hierarchy.
    #[error("cgroup paths are empty")]
    NoPaths,
    /// A control file that holds something else than expected.
    #[error("unexpected contents of {path:?}: {contents:?}")]
    Contents {
        /// The file.
        path: PathBuf,
        /// What it holds.
        contents: String,
    },
    /// The kernel refused a value.
    #[error("write {value:?} to {path:?}: {}", plain(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("read {path:?}: {}", plain(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A directory could not be made.
    #[error("create cgroup {path:?}: {}", plain(source))]
    Create {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A directory could not be removed.
    #[error("remove cgroup {path:?}: {}", plain(source))]
    Remove {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A signal could not be sent.
    #[error("send signal {signal} to process {pid}: {}", plain(source))]
    Kill {
        /// The process.
        pid: i32,
        /// The signal's number.
        signal: i32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The inside of a cgroup could not be given away.
    #[error("chown {path:?}: {}", plain(source))]
    Delegate {
        /// The directory or file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The device filter could not be loaded or attached.
    #[error("device filter of cgroup {path:?}: {}", plain(source))]
    DeviceFilter {
        /// The cgroup.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl CgroupError {
    /// The kernel's answer behind this error, as an errno.
    pub fn errno(&self) -> Option<i32> {
        use CgroupError::*;
        match self {
            Write { source, .. }
            | Read { source, .. }
            | Create { source, .. }
            | Remove { source, .. }
            | Kill { source, .. }
            | Delegate { source, .. }
            | DeviceFilter { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel said that the caller may not.
    pub fn is_permission(&self) -> bool {
        use rustix::io::Errno;
        [Errno::ACCESS, Errno::PERM, Errno::ROFS]
            .iter()
            .any(|errno| self.is(*errno))
    }

    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        self.errno() == Some(errno.raw_os_error())
    }
}

/// The kernel's answer as Go prints it, which callers look for: lower case, no number.
fn plain(err: &io::Error) -> String {
    let text = err.to_string();
    let text = text.rsplit_once(" (os error").map_or(text.as_str(), |(text, _)| text);
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| format!("{}{}", first.to_ascii_lowercase(), chars.as_str()))
        .unwrap_or_default()
}
