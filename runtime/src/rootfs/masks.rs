//! Paths that read as empty, and paths that are read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use davit_sys::mount_attr::{MountAttr, RDONLY, mount_setattr};
use rustix::{
    fs::{AtFlags, FileType, makedev, statat},
    io::Errno as Kernel,
    mount::MountFlags,
};

use crate::rootfs::{
    filesystem::filesystem,
    gate::{Gate, is_directory},
    mount::{MountError, Step, attach, copy},
    options::{MountOptions, Tree},
};

/// A path that could not be hidden or protected.
#[derive(Debug, thiserror::Error)]
#[error("can't {action} path {path:?}: {cause}")]
pub struct MaskError {
    action: &'static str,
    path: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("/dev/null of the container is not the null device")]
    NotNull,
}

/// Covers each path: a file with the null device, a directory with an empty file system. Absent paths are fine.
pub fn mask(gate: &Gate, paths: &[String], label: &str) -> Result<(), MaskError> {
    let mut covers = Covers {
        gate,
        label,
        null: None,
        empty: None,
    };
    for path in paths {
        covers.cover(path).map_err(|cause| MaskError {
            action: "mask",
            path: path.clone(),
            cause,
        })?;
    }
    Ok(())
}

/// Makes each path read-only, but not what is mounted below it, as runc does. Absent paths are fine.
pub fn protect(gate: &Gate, paths: &[String]) -> Result<(), MaskError> {
    for path in paths {
        protect_one(gate, path).map_err(|cause| MaskError {
            action: "protect",
            path: path.clone(),
            cause: cause.into(),
        })?;
    }
    Ok(())
}

fn protect_one(gate: &Gate, path: &str) -> Result<(), MountError> {
    let Some(place) = existing(gate, path)? else {
        return Ok(());
    };
    let tree = copy(place.as_fd(), Tree::Whole).step("copy")?;
    mount_setattr(tree.as_fd(), false, &MountAttr::set(RDONLY)).step("make read-only")?;
    attach(tree.as_fd(), place.as_fd()).step("attach")
}

/// What paths are covered with, opened when first needed.
struct Covers<'g> {
    gate: &'g Gate,
    /// The SELinux context of the empty file system, or empty.
    label: &'g str,
    null: Option<OwnedFd>,
    /// The first cover of a directory; the others are copies of it, all showing one file system.
    empty: Option<OwnedFd>,
}

impl Covers<'_> {
    fn cover(&mut self, path: &str) -> Result<(), Cause> {
        let Some(place) = existing(self.gate, path)? else {
            return Ok(());
        };
        match is_directory(place.as_fd()).step("inspect")? {
            true => self.cover_directory(place.as_fd()),
            false => self.cover_file(place.as_fd()),
        }
    }

    fn cover_file(&mut self, place: BorrowedFd) -> Result<(), Cause> {
        let null = match &mut self.null {
            Some(null) => null,
            absent => absent.insert(null_device(self.gate).ok_or(Cause::NotNull)?),
        };
        let cover = copy(null.as_fd(), Tree::Single).step("copy /dev/null")?;
        Ok(attach(cover.as_fd(), place).step("attach")?)
    }

    fn data(&self) -> Vec<String> {
        let mut data = vec!["nr_blocks=1".to_owned(), "nr_inodes=1".to_owned()];
        if !self.label.is_empty() {
            data.push(format!("context={}", self.label));
        }
        data
    }

    fn cover_directory(&mut self, place: BorrowedFd) -> Result<(), Cause> {
        if let Some(first) = &self.empty {
            let cover = copy(first.as_fd(), Tree::Single).step("copy")?;
            return Ok(attach(cover.as_fd(), place).step("attach")?);
        }
        let options = MountOptions {
            set: MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
            data: self.data(),
            ..MountOptions::default()
        };
        let cover = filesystem(self.gate, "tmpfs", "tmpfs", &options)?;
        attach(cover.as_fd(), place).step("attach")?;
        self.empty = Some(cover);
        Ok(())
    }
}

fn existing(gate: &Gate, path: &str) -> Result<Option<OwnedFd>, MountError> {
    match gate.place(path) {
        Ok(place) => Ok(Some(place)),
        Err(Kernel::NOENT) => Ok(None),
        Err(errno) => Err(errno).step("open"),
    }
}

/// The container's null device, known by its number and not by its name: an image could have put anything there
/// (CVE-2025-31133). The host's would not do either, since a bind of it can have its mode changed from within.
fn null_device(gate: &Gate) -> Option<OwnedFd> {
    let null = gate.place_without_links("/dev/null").ok()?;
    let stat = statat(&null, "", AtFlags::EMPTY_PATH).ok()?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3);
    is_null.then_some(null)
}
