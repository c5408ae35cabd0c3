//! New mounts of file systems, detached: fsopen, fsconfig, fsmount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::mount_attr::{MountAttr, mount_setattr};
use rustix::{
    io::Errno as Kernel,
    mount::{
        FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountFlags, fsconfig_create, fsconfig_reconfigure,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick,
    },
};

use super::{
    by_path,
    gate::Gate,
    mount::{MountError, Step},
    options::{I_VERSION, MountOptions, attributes, change_to},
};

/// File systems without a device, whose own read-only state would say nothing or too much.
const PSEUDO: [&str; 8] = [
    "proc", "sysfs", "tmpfs", "mqueue", "devpts", "cgroup", "cgroup2", "overlay",
];

/// The longest value that fsconfig(2) takes.
const LONGEST_VALUE: usize = 255;

/// Flags of the file system rather than of the mount: fsconfig's names for having and for not having them.
const FILESYSTEM_FLAGS: [(MountFlags, &str, Option<&str>); 4] = [
    (MountFlags::SYNCHRONOUS, "sync", Some("async")),
    (MountFlags::DIRSYNC, "dirsync", None),
    (MountFlags::LAZYTIME, "lazytime", Some("nolazytime")),
    (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, "mand", Some("nomand")),
];

/// A new, detached mount of a file system.
pub(crate) fn filesystem(gate: &Gate, kind: &str, source: &str, options: &MountOptions) -> Result<OwnedFd, MountError> {
    if is_beyond_fsconfig(kind, source, options) {
        return by_path::filesystem(gate, kind, source, options);
    }
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| explain("open", kind, errno, None))?;
    let failed = |step: &str, errno| explain(step, kind, errno, Some(context.as_fd()));
    if !source.is_empty() {
        fsconfig_set_string(&context, "source", source).map_err(|errno| failed("set source of", errno))?;
    }
    for (flag, name, _) in FILESYSTEM_FLAGS {
        if options.set.contains(flag) {
            fsconfig_set_flag(&context, name).map_err(|errno| failed(&format!("set {name} of"), errno))?;
        }
    }
    if options.read_only() && !PSEUDO.contains(&kind) {
        fsconfig_set_flag(&context, "ro").map_err(|errno| failed("set ro of", errno))?;
    }
    set_data(context.as_fd(), kind, options)?;
    fsconfig_create(&context).map_err(|errno| failed("create", errno))?;
    let attr = MountAttrFlags::from_bits_retain(attributes(options.set) as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr).map_err(|errno| failed("mount", errno))
}

/// Gives the file system and the mount at `place` other options (`remount`).
pub(super) fn reconfigure(place: BorrowedFd, kind: &str, options: &MountOptions) -> Result<(), MountError> {
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
    let context = fspick(place, "", flags).map_err(|errno| explain("pick", kind, errno, None))?;
    let failed = |step: &str, errno| explain(step, kind, errno, Some(context.as_fd()));
    let read_only = match options.read_only() {
        true => "ro",
        false => "rw",
    };
    let others = FILESYSTEM_FLAGS
        .iter()
        .filter_map(|(flag, on, off)| match options.set.contains(*flag) {
            true => Some(*on),
            false => *off,
        });
    for name in others.chain((!PSEUDO.contains(&kind)).then_some(read_only)) {
        fsconfig_set_flag(&context, name).map_err(|errno| failed(&format!("set {name} of"), errno))?;
    }
    set_data(context.as_fd(), kind, options)?;
    fsconfig_reconfigure(&context).map_err(|errno| failed("reconfigure", errno))?;
    mount_setattr(place, false, &change_to(options.set)).step("set attributes")
}

fn set_data(context: BorrowedFd, kind: &str, options: &MountOptions) -> Result<(), MountError> {
    for option in &options.data {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context, key, value),
            None => fsconfig_set_flag(context, option.as_str()),
        }
        .map_err(|errno| explain(&format!("set {option} of"), kind, errno, Some(context)))?;
    }
    Ok(())
}

/// Whether only mount(2) can say it: a value longer than fsconfig takes (an overlay of many layers), a flag that it has no
/// word for, or a file system's subtype.
fn is_beyond_fsconfig(kind: &str, source: &str, options: &MountOptions) -> bool {
    let is_long =
        |option: &String| option.split_once('=').map_or(option.len(), |(_, value)| value.len()) > LONGEST_VALUE;
    source.len() > LONGEST_VALUE
        || options.data.iter().any(is_long)
        || options.set.intersects(I_VERSION | MountFlags::SILENT)
        || kind.contains('.')
}

/// Makes a mount read-only, when all is written that has to be there.
pub fn make_read_only(tree: BorrowedFd) -> Result<(), MountError> {
    mount_setattr(tree, false, &MountAttr::set(davit_sys::mount_attr::RDONLY)).step("make read-only")
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
