//! What a restoring criu finds mounted: the container's root in a place of its own, and a null device.
//!
//! criu wants a root that is a mount, and whose parent nothing covers. It is bound in criu's mount namespace, where
//! nobody else sees it: were it in the host's, then removing the container's folder after a kill would remove the
//! image's files with it.

use std::{
    fs::DirBuilder,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use davit_sys::mount_attr::{MountAttr, SLAVE, mount_setattr};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat},
    io::Errno as Kernel,
    mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen},
};

use crate::{
    container::store::Folder,
    errno::{Attempt, CallError},
    rootfs::{
        mount::{attach, copy_of_host},
        options::Tree,
    },
};

const NULL: &str = "null";

/// The mounts and their places.
#[derive(Debug)]
pub struct Stage {
    rootfs: PathBuf,
    root: PathBuf,
    devices: PathBuf,
}

impl Stage {
    /// Makes the places, in the container's folder.
    pub fn new(folder: &Folder, rootfs: &Path) -> Result<Self, CallError> {
        let place = |name: &str| {
            let path = folder.path().join(name);
            DirBuilder::new()
                .mode(0o755)
                .create(&path)
                .attempt("make", path.display())?;
            Ok(path)
        };
        Ok(Stage {
            rootfs: rootfs.into(),
            root: place("criu-root")?,
            devices: place("criu-devices")?,
        })
    }

    /// The container's root, for criu.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What masked files are covered with. The host's own null device will not do: through a bind of it the container
    /// could change its mode for everybody.
    pub fn null(&self) -> PathBuf {
        self.devices.join(NULL)
    }

    /// Makes the mounts. Only for a process with a mount namespace of its own.
    pub fn build(&self) -> Result<(), CallError> {
        let host = place(Path::new("/"))?;
        mount_setattr(host.as_fd(), true, &MountAttr::propagation(SLAVE)).attempt("set propagation of", "/")?;
        drop(host);
        let tree = copy_of_host(&self.rootfs, Tree::Whole).attempt("open rootfs", self.rootfs.display())?;
        attach(tree.as_fd(), place(&self.root)?.as_fd()).attempt("attach", self.root.display())?;
        let devices = tmpfs().attempt("mount", "tmpfs")?;
        mknodat(
            &devices,
            NULL,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            makedev(1, 3),
        )
        .attempt("make device", NULL)?;
        attach(devices.as_fd(), place(&self.devices)?.as_fd()).attempt("attach", self.devices.display())
    }
}

fn tmpfs() -> Result<OwnedFd, Kernel> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

fn place(path: &Path) -> Result<OwnedFd, CallError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).attempt("open", path.display())
}
