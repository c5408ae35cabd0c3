//! One mount of config.json: made detached, then put in its place.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use davit_sys::mount_attr::{MountAttr, RDONLY, mount_setattr};
use rustix::{
    fs::{AtFlags, CWD, PROC_SUPER_MAGIC, fstatfs, statat},
    io::Errno as Kernel,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use crate::{
    errno::Errno,
    rootfs::{
        cgroup_mount::{self, CgroupView},
        copy_up::copy_up,
        gate::{Gate, Kind, is_directory},
        options::{MountOptions, Tree, UnsupportedOption},
    },
};

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
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
];

/// File systems without a device, whose own read-only state would say nothing or too much.
const PSEUDO: [&str; 8] = [
    "proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup", "cgroup2", "overlay",
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
    /// An option that is not built yet.
    #[error(transparent)]
    Option(#[from] UnsupportedOption),
}

/// Opens the source of a bind as a place, where the process itself may not be able to.
pub type OpenSource<'a> = &'a dyn Fn(&Path) -> Result<OwnedFd, Kernel>;

pub(crate) trait Step<T> {
    fn step(self, what: &'static str) -> Result<T, MountError>;
}

impl<T, E: Into<Errno>> Step<T> for Result<T, E> {
    fn step(self, what: &'static str) -> Result<T, MountError> {
        self.map_err(|err| MountError::Step(what, err.into()))
    }
}

/// Mounts `mount` inside the root. Sources of binds are paths of the host, relative to `bundle`.
pub fn mount(
    gate: &Gate,
    mount: &davit_spec::Mount,
    bundle: &Path,
    cgroups: &CgroupView,
    open_source: Option<OpenSource>,
) -> Result<(), MountError> {
    let options = MountOptions::parse(&mount.options)?;
    let destination = mount.destination.as_str();
    match mount.kind.as_str() {
        _ if options.bind.is_some() || mount.kind == "bind" => bind(gate, mount, bundle, &options, open_source),
        "proc" | "sysfs" => {
            gate.ensure(destination, Kind::Directory).step("make destination")?;
            let place = ordinary_directory(gate, destination)?;
            let tree = filesystem(&mount.kind, &mount.source, &options)?;
            finish(&tree, place.as_fd(), &options)
        }
        "cgroup" | "cgroup2" => cgroup_mount::mount(gate, destination, &options, cgroups),
        "tmpfs" => tmpfs(gate, mount, destination, options),
        kind => {
            let place = gate.ensure(destination, Kind::Directory).step("make destination")?;
            refuse_proc(place.as_fd(), destination)?;
            let tree = filesystem(kind, &mount.source, &options)?;
            finish(&tree, place.as_fd(), &options)
        }
    }
}

fn tmpfs(
    gate: &Gate,
    mount: &davit_spec::Mount,
    destination: &str,
    mut options: MountOptions,
) -> Result<(), MountError> {
    let existed = gate.place(destination).is_ok();
    let place = gate.ensure(destination, Kind::Directory).step("make destination")?;
    refuse_proc(place.as_fd(), destination)?;
    if existed && !options.data.iter().any(|option| option.starts_with("mode=")) {
        let covered = statat(&place, "", AtFlags::EMPTY_PATH).step("inspect destination")?;
        options.data.push(format!("mode={:o}", covered.st_mode & 0o7777));
    }
    // Read-only comes when all is written that has to be there.
    let read_only = options.read_only();
    options.attr.set &= !RDONLY;
    let tree = filesystem("tmpfs", &mount.source, &options)?;
    if options.copy_up {
        copy_up(place.as_fd(), tree.as_fd()).step("copy up")?;
    }
    if read_only && !is_dev(destination) {
        mount_setattr(tree.as_fd(), false, &MountAttr::set(RDONLY)).step("make read-only")?;
    }
    finish(&tree, place.as_fd(), &options)
}

/// A new, detached mount of a file system.
pub(crate) fn filesystem(kind: &str, source: &str, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| explain("open", kind, errno, None))?;
    let failed = |step: &str, errno| explain(step, kind, errno, Some(context.as_fd()));
    if !source.is_empty() {
        fsconfig_set_string(&context, "source", source).map_err(|errno| failed("set source of", errno))?;
    }
    for flag in &options.flags {
        fsconfig_set_flag(&context, *flag).map_err(|errno| failed(&format!("set {flag} of"), errno))?;
    }
    if options.read_only() && !PSEUDO.contains(&kind) {
        fsconfig_set_flag(&context, "ro").map_err(|errno| failed("set ro of", errno))?;
    }
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&context, key, value),
            None => fsconfig_set_flag(&context, option.as_str()),
        }
        .map_err(|errno| failed(&format!("set {option} of"), errno))?;
    }
    fsconfig_create(&context).map_err(|errno| failed("create", errno))?;
    let attr = MountAttrFlags::from_bits_retain(options.attr.set as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr).map_err(|errno| failed("mount", errno))
}

fn explain(step: &str, kind: &str, errno: Kernel, context: Option<BorrowedFd>) -> MountError {
    let mut buffer = [0u8; 512];
    let explanation = context
        .and_then(|context| rustix::io::read(context, &mut buffer).ok())
        .map(|length| String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
        // "e tmpfs: Bad value": the letter is the severity.
        .map(|message| format!(" ({})", message.get(2..).unwrap_or_default()))
        .unwrap_or_default();
    MountError::Filesystem {
        step: step.into(),
        filesystem: kind.into(),
        errno: errno.into(),
        explanation,
    }
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

fn bind(
    gate: &Gate,
    mount: &davit_spec::Mount,
    bundle: &Path,
    options: &MountOptions,
    open_source: Option<OpenSource>,
) -> Result<(), MountError> {
    let (path, tree) = (bundle.join(&mount.source), options.bind.unwrap_or(Tree::Single));
    let tree = match open_source {
        Some(open) => open(&path).and_then(|place| copy(place.as_fd(), tree)),
        None => copy_of_host(&path, tree),
    }
    .step("open source")?;
    let kind = match is_directory(tree.as_fd()).step("inspect source")? {
        true => Kind::Directory,
        false => Kind::File,
    };
    let place = gate.ensure(&mount.destination, kind).step("make destination")?;
    match (kind, is_directory(place.as_fd()).step("inspect destination")?) {
        (Kind::Directory, false) => {
            return Err(MountError::Mismatch(
                "the source is a directory and the destination is a file",
            ));
        }
        (Kind::File, true) => {
            return Err(MountError::Mismatch(
                "the source is a file and the destination is a directory",
            ));
        }
        _ => {}
    }
    guard_proc(gate, &tree, place.as_fd(), &mount.destination)?;
    if !options.attr.is_empty() {
        mount_setattr(tree.as_fd(), false, &options.attr).step("set attributes")?;
    }
    finish(&tree, place.as_fd(), options)
}

fn finish(tree: &OwnedFd, place: BorrowedFd, options: &MountOptions) -> Result<(), MountError> {
    if !options.recursive_attr.is_empty() {
        mount_setattr(tree.as_fd(), true, &options.recursive_attr).step("set recursive attributes")?;
    }
    for (flag, tree_of) in &options.propagation {
        let attr = MountAttr::propagation(*flag);
        mount_setattr(tree.as_fd(), *tree_of == Tree::Whole, &attr).step("set propagation")?;
    }
    attach(tree.as_fd(), place).step("attach")
}

/// A directory that no link leads to: /proc and /sys are trusted later, so their place must be what it seems.
fn ordinary_directory(gate: &Gate, path: &str) -> Result<OwnedFd, MountError> {
    let refused = || MountError::NotOrdinary(path.into());
    let place = gate.place_without_links(path).map_err(|_| refused())?;
    match is_directory(place.as_fd()) {
        Ok(true) => Ok(place),
        _ => Err(refused()),
    }
}

/// A bind may hide single files of /proc, and replace all of it by another proc, but nothing else there.
fn guard_proc(gate: &Gate, tree: &OwnedFd, place: BorrowedFd, destination: &str) -> Result<(), MountError> {
    let path = format!("/{}", destination.trim_matches('/'));
    if path == "/proc" {
        return match on_proc(tree.as_fd())? {
            true => ordinary_directory(gate, destination).map(drop),
            false => Err(MountError::NotProc(destination.into())),
        };
    }
    match COVERABLE.contains(&path.as_str()) {
        true => Ok(()),
        false => refuse_proc(place, destination),
    }
}

fn refuse_proc(place: BorrowedFd, destination: &str) -> Result<(), MountError> {
    let path = format!("/{}", destination.trim_matches('/'));
    match path == "/proc" || path.starts_with("/proc/") || on_proc(place)? {
        true if path == "/proc" => Err(MountError::NotProc(destination.into())),
        true => Err(MountError::InsideProc(destination.into())),
        false => Ok(()),
    }
}

fn on_proc(place: BorrowedFd) -> Result<bool, MountError> {
    Ok(fstatfs(place).step("inspect destination")?.f_type == PROC_SUPER_MAGIC)
}

/// Whether a mount is made read-only only by [`seal`]: a tmpfs on /dev, in which nodes are still to be made.
pub fn is_late_read_only(mount: &davit_spec::Mount) -> bool {
    let is_tmpfs = mount.kind == "tmpfs" && is_dev(&mount.destination);
    is_tmpfs && MountOptions::parse(&mount.options).is_ok_and(|options| options.read_only())
}

fn is_dev(destination: &str) -> bool {
    destination.trim_end_matches('/') == "/dev"
}

/// Makes the mount at `path` read-only, when all that had to be written there is there.
pub fn seal(gate: &Gate, path: &str) -> Result<(), MountError> {
    let place = gate.place(path).step("open")?;
    mount_setattr(place.as_fd(), false, &MountAttr::set(RDONLY)).step("make read-only")
}
