//! One mount of config.json: made detached, then put in its place.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use davit_sys::mount_attr::{MountAttr, mount_setattr};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, XattrFlags, fsetxattr, fstatfs, openat, statat},
    io::Errno as Kernel,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{
    bind::bind,
    cgroup_mount::{self, CgroupView},
    copy_up::copy_up,
    filesystem::{filesystem, reconfigure},
    gate::{Gate, Kind, is_directory},
    options::{MountOptions, Tree},
    planned::Planned,
    source::Sources,
};
use crate::errno::Errno;

/// Files of /proc that may be covered by a bind: what lxcfs and the like serve.
const COVERABLE: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Why a mount failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A step of it.
    #[error("{0}: {1}")]
    Step(&'static str, Errno),
    /// The file system refused, with its own words.
    #[error("{step} {filesystem}: {errno}{explanation}")]
    Filesystem {
        /// What was tried.
        step: String,
        /// The type.
        filesystem: String,
        /// The kernel's answer.
        errno: Errno,
        /// What the file system says about it, with a separator in front, or empty.
        explanation: String,
    },
    /// /proc or /sys is a symlink or no directory.
    #[error("filesystem {0:?} must be mounted on ordinary directory")]
    NotOrdinary(String),
    /// Something that would hide a part of /proc.
    #[error("{0:?} cannot be mounted because it is inside /proc")]
    InsideProc(String),
    /// Something else than proc on /proc.
    #[error("{0:?} cannot be mounted because it is not of type proc")]
    NotProc(String),
    /// A directory on a file, or a file on a directory. Docker looks for the first words.
    #[error("not a directory: {0}")]
    Mismatch(&'static str),
    /// More than mount(2) reads.
    #[error("the source or the options of the {0} are longer than the {1} bytes that mount(2) reads")]
    TooLong(String, usize),
    /// The file system, or the kernel, cannot map ids.
    #[error("failed to set MOUNT_ATTR_IDMAP: {0} (can the file system map ids on this kernel?)")]
    IdMap(Errno),
    /// Flags of a mount of the host that a user namespace cannot change.
    #[error("failed to set user-requested vfs flags on bind-mount: {0}: {1}")]
    Locked(String, Errno),
}

impl MountError {
    /// The kernel's answer, for whom the words would not reach.
    pub(crate) fn errno(&self) -> Kernel {
        match self {
            MountError::Step(_, errno) | MountError::IdMap(errno) | MountError::Filesystem { errno, .. } => {
                (*errno).into()
            }
            _ => Kernel::INVAL,
        }
    }
}

pub(crate) trait Step<T> {
    fn step(self, what: &'static str) -> Result<T, MountError>;
}

impl<T, E: Into<Errno>> Step<T> for Result<T, E> {
    fn step(self, what: &'static str) -> Result<T, MountError> {
        self.map_err(|err| MountError::Step(what, err.into()))
    }
}

/// What all mounts of a container have in common.
#[derive(Debug)]
pub struct Setting<'p> {
    /// The root.
    pub gate: &'p Gate,
    /// What binds show.
    pub sources: Sources<'p>,
    /// What `cgroup` stands for.
    pub cgroups: CgroupView,
    /// The SELinux context of files that have none of their own, or empty.
    pub label: &'p str,
}

/// Makes one mount. What is returned is to be made read-only when all that has to be written in it is there.
pub fn mount(setting: &Setting, planned: &Planned) -> Result<Option<OwnedFd>, MountError> {
    let (gate, mount) = (setting.gate, &planned.mount);
    if planned.is_bind() {
        return bind(gate, planned, &setting.sources).map(|()| None);
    }
    if planned.options.remount {
        return remount(gate, planned);
    }
    match mount.kind.as_str() {
        "proc" | "sysfs" => {
            let place = ordinary_directory(gate, mount)?;
            let tree = filesystem(gate, &mount.kind, &mount.source, &planned.options)?;
            finish(&tree, place.as_fd(), &planned.options).map(|()| None)
        }
        "cgroup" => cgroup_mount::mount(setting, &mount.destination, &planned.options).map(|()| None),
        "cgroup2" if setting.cgroups.shares_unified() => {
            cgroup_mount::mount_shared(setting, &mount.destination, &planned.options).map(|()| None)
        }
        _ => of_kind(setting, planned),
    }
}

fn of_kind(setting: &Setting, planned: &Planned) -> Result<Option<OwnedFd>, MountError> {
    let (gate, mount) = (setting.gate, &planned.mount);
    let destination = mount.destination.as_str();
    let is_tmpfs = mount.kind == "tmpfs";
    let existed = is_tmpfs && gate.place(destination).is_ok();
    let place = gate.ensure(destination, Kind::Directory).step("make destination")?;
    if !is_directory(place.as_fd()).step("inspect destination")? {
        return Err(MountError::Mismatch("the destination of a file system is a file"));
    }
    refuse_proc(place.as_fd(), destination)?;
    let mut options = planned.options.clone();
    if existed && !options.data.iter().any(|option| option.starts_with("mode=")) {
        let covered = statat(&place, "", AtFlags::EMPTY_PATH).step("inspect destination")?;
        options.data.push(format!("mode={:o}", covered.st_mode & 0o7777));
    }
    // Later mounts may have their places in it, and devices be made there.
    let is_late = options.read_only() && (is_tmpfs || is_dev(destination));
    options.set.set(MountFlags::RDONLY, options.read_only() && !is_late);
    let tree = match filesystem(gate, &mount.kind, &mount.source, &options) {
        // The container's cgroup does not allow the device, and need not: the runtime's does.
        Err(MountError::Filesystem { errno, .. }) if errno.is(Kernel::PERM) => setting.sources.on_device(planned)?,
        tree => tree?,
    };
    if mount.kind == "mqueue" && !setting.label.is_empty() {
        label_root(tree.as_fd(), setting.label).step("label")?;
    }
    if is_tmpfs && options.copy_up {
        copy_up(place.as_fd(), tree.as_fd()).step("copy up")?;
    }
    finish(&tree, place.as_fd(), &options)?;
    Ok(is_late.then_some(tree))
}

/// Gives the root of a file system a SELinux context. The one of message queues was made with the ipc namespace: its context is
/// no option of the mount.
fn label_root(tree: BorrowedFd, label: &str) -> Result<(), Kernel> {
    let root = openat(
        tree,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    fsetxattr(root, "security.selinux", label.as_bytes(), XattrFlags::empty())
}

/// Changes what is mounted at the destination already.
fn remount(gate: &Gate, planned: &Planned) -> Result<Option<OwnedFd>, MountError> {
    let mount = &planned.mount;
    let place = gate.place(&mount.destination).step("open destination")?;
    let is_late = planned.options.read_only() && (mount.kind == "tmpfs" || is_dev(&mount.destination));
    let mut options = planned.options.clone();
    options.set.set(MountFlags::RDONLY, options.read_only() && !is_late);
    reconfigure(place.as_fd(), &mount.kind, &options)?;
    refine(place.as_fd(), &options)?;
    Ok(is_late.then_some(place))
}

/// Puts a detached mount on a place.
pub(crate) fn attach(tree: BorrowedFd, place: BorrowedFd) -> Result<(), Kernel> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}

/// A detached copy of the mount at a place that is already open.
pub(crate) fn copy(place: BorrowedFd, tree: Tree) -> Result<OwnedFd, Kernel> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(place, "", flags | recursive(tree))
}

/// A detached copy of a mount of the host.
pub(crate) fn copy_of_host(source: &Path, tree: Tree) -> Result<OwnedFd, Kernel> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, source, flags | recursive(tree))
}

fn recursive(tree: Tree) -> OpenTreeFlags {
    match tree {
        Tree::Single => OpenTreeFlags::empty(),
        Tree::Whole => OpenTreeFlags::AT_RECURSIVE,
    }
}

/// Gives a detached mount what is said of all below it, puts it in its place, and gives it its propagation there: a mount
/// takes part of that from what it is put on.
pub(super) fn finish(tree: &OwnedFd, place: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    set_recursive(tree.as_fd(), options)?;
    attach(tree.as_fd(), place).step("attach")?;
    propagate(tree.as_fd(), options)
}

/// What is said of a mount beyond its own flags.
pub(super) fn refine(mount: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    set_recursive(mount, options)?;
    propagate(mount, options)
}

fn set_recursive(mount: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    match options.recursive_attr.is_empty() {
        true => Ok(()),
        false => mount_setattr(mount, true, &options.recursive_attr).step("set recursive attributes"),
    }
}

fn propagate(mount: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    for (flag, tree) in &options.propagation {
        let attr = MountAttr::propagation(*flag);
        mount_setattr(mount, *tree == Tree::Whole, &attr).step("set propagation")?;
    }
    Ok(())
}

/// A directory that no link leads to: /proc and /sys are trusted later, so their place must be what it seems
/// (CVE-2019-19921, CVE-2023-27561).
fn ordinary_directory(gate: &Gate, mount: &davit_spec::Mount) -> Result<OwnedFd, MountError> {
    let (kind, destination) = (mount.kind.as_str(), mount.destination.as_str());
    match normal(destination) {
        path if path == "/proc" && kind != "proc" => return Err(MountError::NotProc(destination.into())),
        path if path.starts_with("/proc/") => return Err(MountError::InsideProc(destination.into())),
        _ => {}
    }
    let refused = || MountError::NotOrdinary(kind.into());
    let place = match gate.place_without_links(destination) {
        Err(Kernel::NOENT) => {
            gate.ensure(destination, Kind::Directory).step("make destination")?;
            gate.place_without_links(destination)
        }
        found => found,
    }
    .map_err(|_| refused())?;
    match is_directory(place.as_fd()) {
        Ok(true) => Ok(place),
        _ => Err(refused()),
    }
}

/// A bind may hide single files of /proc, and replace all of it by another proc, but nothing else there (CVE-2019-16884).
pub(super) fn guard_proc(gate: &Gate, tree: &OwnedFd, place: BorrowedFd, destination: &str) -> Result<(), MountError> {
    let path = normal(destination);
    if path == "/proc" {
        let ordinary = gate.place_without_links(destination).is_ok();
        return match on_proc(tree.as_fd())? {
            true if ordinary => Ok(()),
            true => Err(MountError::NotOrdinary("proc".into())),
            false => Err(MountError::NotProc(destination.into())),
        };
    }
    match COVERABLE.contains(&path.as_str()) {
        true => Ok(()),
        false => refuse_proc(place, destination),
    }
}

/// Nothing but a bind may cover a part of /proc, and nothing but a proc all of it.
pub(super) fn refuse_proc(place: BorrowedFd, destination: &str) -> Result<(), MountError> {
    let path = normal(destination);
    match path == "/proc" || path.starts_with("/proc/") || on_proc(place)? {
        true if path == "/proc" => Err(MountError::NotProc(destination.into())),
        true => Err(MountError::InsideProc(destination.into())),
        false => Ok(()),
    }
}

fn on_proc(place: BorrowedFd) -> Result<bool, MountError> {
    Ok(fstatfs(place).step("inspect destination")?.f_type == PROC_SUPER_MAGIC)
}

/// A path without its empty parts and dots; a `..` goes up by the text alone.
pub(super) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn is_dev(destination: &str) -> bool {
    normal(destination) == "/dev"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_compared_without_its_detours() {
        assert_eq!(normal("/proc//self/./../"), "/proc");
        assert_eq!(normal("proc"), "/proc");
        assert!(is_dev("/dev/") && !is_dev("/dev/shm"));
    }
}
