//! The host's /proc, by a handle of our own.
//!
//! What a runtime says to the kernel by writing to /proc (labels, profiles, scores, kernel parameters, id maps) protects the
//! container, so it must reach the kernel and not some file that looks like it (CVE-2019-16884, CVE-2023-28642,
//! CVE-2025-52881). Every such write goes through a [`ProcFs`]: a directory that was seen to be the root of a procfs,
//! below which no lookup crosses a mount or follows a magic link. A file that something is mounted over is refused
//! there; then, and where /proc is something else altogether, a procfs is made afresh, detached, which nobody else can
//! mount anything on.
//!
//! A container's own /proc is never opened: its mounts are the container's affair. So the handle is taken, or used for the
//! first time, before a mount namespace is entered.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat, openat2},
    io::Errno as Kernel,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use crate::errno::Errno;

/// How often a lookup is repeated that a concurrent rename or mount disturbed.
const RETRIES: usize = 64;

/// The root of a procfs.
#[derive(Debug)]
pub struct ProcFs {
    root: OwnedFd,
    /// Whether the kernel made it for us alone.
    is_private: bool,
}

impl ProcFs {
    /// Takes /proc as the calling process sees it, which must not be in a container's mount namespace yet; where that is no
    /// procfs, a new one.
    pub fn open() -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, "/proc", flags, Mode::empty()) {
            Ok(root) if is_procfs(&root)? => Ok(ProcFs {
                root,
                is_private: false,
            }),
            _ => Self::private(),
        }
    }

    /// Makes a procfs that is mounted nowhere, for the pid namespace of the calling process.
    fn private() -> Result<Self, Errno> {
        let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(ProcFs { root, is_private: true })
    }

    /// Opens `path`, which is relative: `self/attr/exec`, `sys/kernel/shmmax`.
    pub fn open_file(&self, path: &str, flags: OFlags) -> Result<File, Errno> {
        match self.resolve(path, flags) {
            // Something is mounted on the way: a runtime in a container may have no other /proc than a masked one.
            Err(Kernel::XDEV) if !self.is_private => Ok(Self::private()?.resolve(path, flags)?.into()),
            opened => Ok(opened?.into()),
        }
    }

    /// Writes `value` in one piece.
    pub fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Result<(), Errno> {
        let value = value.as_ref();
        // The kernel takes each write by itself: a second one would be another value.
        match self.open_file(path, OFlags::WRONLY)?.write(value) {
            Ok(length) if length == value.len() => Ok(()),
            Ok(_) => Err(Kernel::INVAL.into()),
            Err(err) => Err(err.into()),
        }
    }

    /// Reads a whole file.
    pub fn read(&self, path: &str) -> Result<String, Errno> {
        let mut text = String::new();
        self.open_file(path, OFlags::RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Opens what the magic link `path` stands for (`PID/ns/user`); the way to the link is as safe as any other.
    pub fn open_link(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (folder, name) = path.rsplit_once('/').ok_or(Kernel::INVAL)?;
        let folder = self.open_file(folder, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(openat(&folder, name, flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn resolve(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Kernel> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RETRIES {
            match openat2(self.root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                Err(Kernel::AGAIN | Kernel::INTR) => {}
                opened => return opened,
            }
        }
        Err(Kernel::AGAIN)
    }
}

/// Whether it is a procfs; a directory inside of one would not hold what is looked for below it.
fn is_procfs(place: &OwnedFd) -> Result<bool, Kernel> {
    Ok(fstatfs(place)?.f_type == PROC_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_process_is_read_and_written() {
        let proc = ProcFs::open().unwrap();
        let pid = std::process::id().to_string();
        assert!(proc.read("self/stat").unwrap().starts_with(&pid));
        proc.write("self/comm", "procfs-test").unwrap();
        assert_eq!(proc.read("self/comm").unwrap(), "procfs-test\n");
    }

    #[test]
    fn nothing_but_procfs_is_reached() {
        let proc = ProcFs::open().unwrap();
        for path in [
            "self/root/etc/passwd",
            "self/cwd/Cargo.toml",
            "../etc/passwd",
            "/etc/passwd",
        ] {
            assert!(proc.read(path).is_err(), "{path}");
        }
    }
}
