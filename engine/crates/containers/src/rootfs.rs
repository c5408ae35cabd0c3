//! The one gate to files inside a container's root.
//!
//! Every path is resolved by the kernel as the container would see it (`openat2` with `RESOLVE_IN_ROOT`): links that
//! point out of the root cannot leave it, however they change meanwhile. Magic links of /proc are refused (CVE-2024-21626).

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use davit_containerd_api::types::Mount;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
        fsopen,
    },
};

/// The largest file that is read: a passwd of many thousand users fits, an endless one does not fill the memory.
const LARGEST: u64 = 4 << 20;

/// An open root.
#[derive(Debug)]
pub struct Rootfs {
    root: OwnedFd,
}

impl Rootfs {
    /// The root of a container that does not run, from its snapshot's mounts, read-only and mounted nowhere.
    ///
    /// An overlay is opened with its upper layer as the first of the lower ones, so that closing it writes nothing back.
    pub fn of_snapshot(mounts: &[Mount]) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let [mount] = mounts else {
            return Err(invalid("a snapshot with other than one mount"));
        };
        let layers = match mount.r#type.as_str() {
            "bind" => vec![mount.source.as_str()],
            "overlay" => overlay_layers(&mount.options),
            other => return Err(invalid(&format!("a snapshot mounted as {other:?}"))),
        };
        let root = match layers[..] {
            [] => return Err(invalid("an overlay without layers")),
            [only] => rustix::fs::open(only, directory_flags(), Mode::empty())?,
            _ => mount_overlay(&layers)?,
        };
        Ok(Self { root })
    }

    /// The root that a running process sees.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let root = rustix::fs::open(format!("/proc/{pid}/root"), directory_flags(), Mode::empty())?;
        Ok(Self { root })
    }

    /// A text file; empty where there is none.
    pub fn read_text(&self, path: &str) -> io::Result<String> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A FIFO in place of the file must not block us.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            let text = format!("{path} is not a regular file of at most {LARGEST} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn directory_flags() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// The layers, uppermost first.
fn overlay_layers(options: &[String]) -> Vec<&str> {
    let value = |key: &str| {
        options
            .iter()
            .find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
    };
    let lower = value("lowerdir")
        .unwrap_or_default()
        .split(':')
        .filter(|layer| !layer.is_empty());
    value("upperdir").into_iter().chain(lower).collect()
}

fn mount_overlay(layers: &[&str]) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    fsconfig_set_string(context.as_fd(), "lowerdir", layers.join(":"))?;
    fsconfig_create(context.as_fd())?;
    let flags =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(source: &std::path::Path) -> Vec<Mount> {
        vec![Mount {
            r#type: "bind".into(),
            source: source.display().to_string(),
            ..Mount::default()
        }]
    }

    #[test]
    fn a_link_that_points_out_of_the_root_stays_inside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/hostname", folder.path().join("etc/group")).unwrap();
        let root = Rootfs::of_snapshot(&bind(folder.path())).unwrap();
        assert_eq!(root.read_text("etc/passwd").unwrap(), "");
        assert_eq!(root.read_text("etc/group").unwrap(), "");
        std::fs::write(folder.path().join("etc/hostname"), "inside").unwrap();
        assert_eq!(root.read_text("etc/passwd").unwrap(), "inside");
    }

    #[test]
    fn a_fifo_in_place_of_a_file_is_refused_and_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("passwd");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            Rootfs::of_snapshot(&bind(folder.path()))
                .unwrap()
                .read_text("passwd")
                .is_err()
        );
    }
}
