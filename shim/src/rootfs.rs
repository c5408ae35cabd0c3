//! Mounts a container's root file system at `<bundle>/rootfs`, and unmounts it.

mod options;

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{MountFlags, UnmountFlags},
};

use self::options::Options;

/// One mount as the manager asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `overlay`, `bind`, ….
    pub kind: String,
    /// Device or folder.
    pub source: String,
    /// Below the root file system; usually empty.
    pub target: String,
    /// As in fstab.
    pub options: Vec<String>,
}

/// A root file system that cannot be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// An option that needs more than mount(2).
    #[error("mount option {0:?} is not supported by this shim")]
    Unsupported(String),
    /// A target that is not below the root file system.
    #[error("mount target {0:?} is not below the root file system")]
    Target(String),
    /// Too many layers for one page of options, even with short names.
    #[error("overlay options of {0} bytes do not fit a page")]
    TooLong(usize),
    /// A system call.
    #[error("failed to mount rootfs component: {what}: {source}")]
    Mount {
        /// Which mount.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// A system call.
    #[error("failed to unmount {path}: {source}")]
    Unmount {
        /// Where.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
}

/// Mounts all in order. On an error nothing stays mounted.
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<(), RootfsError> {
    if mounts.is_empty() {
        return Ok(());
    }
    let what = format!("{}", rootfs.display());
    match fs::DirBuilder::new().mode(0o711).create(rootfs) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(RootfsError::Mount { what, source });
        }
        _ => {}
    }
    for mount in mounts {
        if let Err(error) = mount_one(mount, rootfs) {
            if let Err(error) = unmount_all(rootfs) {
                tracing::warn!(%error, "a half-mounted root file system stays");
            }
            return Err(error);
        }
    }
    Ok(())
}

fn mount_one(mount: &Mount, rootfs: &Path) -> Result<(), RootfsError> {
    let failed = |source: io::Error| RootfsError::Mount {
        what: format!(
            "{} of type {} with options {:?}",
            mount.source,
            mount.kind,
            mount.options.join(",")
        ),
        source,
    };
    let options = Options::parse(&mount.options)?;
    let target = Target::open(rootfs, &mount.target).map_err(failed)?;
    let is_bind = options.flags.contains(MountFlags::BIND);
    let short = options::shorten(&options.data)?;
    let data = short.data.as_deref();
    let base = short.base.as_deref();
    let call = || {
        let kind = (!is_bind).then_some(mount.kind.as_str());
        mount_call(&mount.source, target.path(), kind, options.flags, data)
    };
    in_folder(base, call).map_err(failed)?;
    let rest = options
        .flags
        .intersection(MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC);
    if is_bind && !rest.is_empty() {
        // A bind mount takes the flags of its source first; the target's path now leads to the new mount.
        let path = target.again().map_err(failed)?;
        rustix::mount::mount_remount(path.path(), rest | MountFlags::BIND, "").map_err(|error| failed(error.into()))?;
    }
    if !options.propagation.is_empty() {
        let path = target.again().map_err(failed)?;
        rustix::mount::mount_change(path.path(), options.propagation).map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

fn mount_call(
    source: &str,
    target: &Path,
    kind: Option<&str>,
    flags: MountFlags,
    data: Option<&str>,
) -> io::Result<()> {
    let data = data.map(std::ffi::CString::new).transpose()?;
    Ok(rustix::mount::mount(
        source,
        target,
        kind.unwrap_or_default(),
        flags,
        data.as_deref(),
    )?)
}

/// Runs a mount with another working directory: overlay's options are paths, and relative ones are shorter.
fn in_folder(base: Option<&Path>, call: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let Some(base) = base else { return call() };
    let before = File::open(".")?;
    rustix::process::chdir(base)?;
    let outcome = call();
    rustix::process::fchdir(before)?;
    outcome
}

/// Where to mount: resolved once, so that no symbolic link in an image leads out of the root file system.
struct Target {
    rootfs: PathBuf,
    relative: String,
    path: PathBuf,
    _folder: Option<std::os::fd::OwnedFd>,
}

impl Target {
    fn open(rootfs: &Path, relative: &str) -> io::Result<Self> {
        let relative = relative.trim_matches('/').to_owned();
        if relative.is_empty() {
            return Ok(Self {
                rootfs: rootfs.into(),
                relative,
                path: rootfs.into(),
                _folder: None,
            });
        }
        let root = File::open(rootfs)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let folder = rustix::fs::openat2(
            &root,
            relative.as_str(),
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        Ok(Self {
            rootfs: rootfs.into(),
            relative,
            path,
            _folder: Some(folder),
        })
    }

    fn again(&self) -> io::Result<Self> {
        Self::open(&self.rootfs, &self.relative)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Unmounts everything at and below `rootfs`; nothing mounted there is fine.
pub fn unmount_all(rootfs: &Path) -> Result<(), RootfsError> {
    for _ in 0..64 {
        match rustix::mount::unmount(rootfs, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if unmount_below(rootfs)? => {}
            Err(Errno::BUSY) => {
                // Somebody outside still looks into it: it goes when they do.
                let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
                rustix::mount::unmount(rootfs, flags).map_err(|error| unmount_failed(rootfs, error))?;
            }
            Err(error) => return Err(unmount_failed(rootfs, error)),
        }
    }
    Err(unmount_failed(rootfs, Errno::BUSY))
}

fn unmount_failed(path: &Path, error: Errno) -> RootfsError {
    RootfsError::Unmount {
        path: path.into(),
        source: error.into(),
    }
}

/// `true` if something was unmounted.
fn unmount_below(rootfs: &Path) -> Result<bool, RootfsError> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|source| RootfsError::Unmount {
        path: "/proc/self/mountinfo".into(),
        source,
    })?;
    let points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(options::unescape_octal(point)))
        .filter(|point| point != rootfs && point.starts_with(rootfs))
        .collect();
    // The last mounted lies on top.
    for point in points.iter().rev() {
        let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
        rustix::mount::unmount(point, flags).map_err(|error| unmount_failed(point, error))?;
    }
    Ok(!points.is_empty())
}
