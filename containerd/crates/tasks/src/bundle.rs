//! The folder that a shim works in.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use davit_vocabulary::{ContainerId, Namespace};
use serde::Deserialize;

use crate::{PLUGIN, SANDBOX_PLUGIN, TaskError, mounts};

/// The file that names the sandbox whose shim holds this container, where that shim was not started for it.
const SANDBOX: &str = "sandbox";

/// What a bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A task.
    Task,
    /// A sandbox, which may have a process of its own.
    Sandbox,
}

impl Role {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Task, Self::Sandbox];

    /// The folder of its bundles.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Task => PLUGIN,
            Self::Sandbox => SANDBOX_PLUGIN,
        }
    }
}

/// A bundle: `config.json`, `rootfs/`, the link `work` to a folder that survives a reboot, and what the shim keeps there.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The namespace of the container.
    pub namespace: Namespace,
    /// The container, or the sandbox.
    pub id: ContainerId,
    /// What it is for.
    pub role: Role,
    /// Where it lies.
    pub path: PathBuf,
    /// The folder that survives a reboot.
    pub(crate) work: PathBuf,
}

impl Bundle {
    /// The bundle of a container, whether it exists or not.
    pub fn at(root: &Path, state: &Path, namespace: &Namespace, id: &ContainerId) -> Self {
        Self::of(Role::Task, root, state, namespace, id)
    }

    /// The bundle of a container or a sandbox, whether it exists or not.
    pub(crate) fn of(role: Role, root: &Path, state: &Path, namespace: &Namespace, id: &ContainerId) -> Self {
        let below = |folder: &Path| folder.join(role.folder()).join(namespace.as_str()).join(id.as_str());
        Self {
            namespace: namespace.clone(),
            id: id.clone(),
            role,
            path: below(state),
            work: below(root),
        }
    }

    /// A file in the bundle.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes down that the shim of a sandbox holds this container.
    pub(crate) fn join_sandbox(&self, sandbox: &ContainerId) -> Result<(), TaskError> {
        let path = self.file(SANDBOX);
        fs::write(&path, sandbox.as_str()).map_err(|source| self.error(&path, source))
    }

    /// Whether the shim of a sandbox holds this container.
    pub(crate) fn is_in_sandbox(&self) -> bool {
        self.file(SANDBOX).exists()
    }

    /// Makes the bundle with `spec` as its config.json. On failure nothing of it is left.
    pub fn create(&self, spec: Option<&[u8]>) -> Result<(), TaskError> {
        let parent = self.path.parent().expect("a bundle lies in a namespace's folder");
        make_parents(parent).map_err(|source| self.error(parent, source))?;
        make(&self.path, 0o700).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => TaskError::Exists(self.id.to_string()),
            _ => self.error(&self.path, source),
        })?;
        davit_fail_point::reach("manager.create.bundle-made");
        self.fill(spec).inspect_err(|_| {
            if let Err(error) = self.remove() {
                tracing::warn!(id = %self.id, %error, "remove half-made bundle");
            }
        })
    }

    fn fill(&self, spec: Option<&[u8]>) -> Result<(), TaskError> {
        let rootfs = self.file("rootfs");
        make(&rootfs, 0o711).map_err(|source| self.error(&rootfs, source))?;
        self.make_work().map_err(|source| self.error(&self.work, source))?;
        davit_fail_point::reach("manager.create.work-made");
        let link = self.file("work");
        symlink(&self.work, &link).map_err(|source| self.error(&link, source))?;
        if let Some(spec) = spec {
            let config = self.file("config.json");
            fs::write(&config, spec).map_err(|source| self.error(&config, source))?;
            self.open_to_remapped_root(spec)
                .map_err(|source| self.error(&self.path, source))?;
        }
        davit_fail_point::reach("manager.create.bundle-filled");
        Ok(())
    }

    /// The root of a user namespace must get through to its root file system, and to nothing else here.
    fn open_to_remapped_root(&self, spec: &[u8]) -> io::Result<()> {
        let Some(group) = remapped_group(spec) else {
            return Ok(());
        };
        chown(&self.path, None, Some(group))?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710))
    }

    /// A work folder may be left over from before a reboot, which took the bundle away.
    fn make_work(&self) -> io::Result<()> {
        make_parents(self.work.parent().expect("a work folder lies in a namespace's folder"))?;
        match make(&self.work, 0o711) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&self.work)?;
                make(&self.work, 0o711)
            }
            result => result,
        }
    }

    /// Unmounts what is mounted on the root file system and removes bundle and work folder; none of it need exist.
    ///
    /// The folder is renamed before it is emptied, so that a bundle is there whole or not at all.
    pub fn remove(&self) -> Result<(), TaskError> {
        let rootfs = self.file("rootfs");
        remove_mount_point(&rootfs).map_err(|source| self.error(&rootfs, source))?;
        davit_fail_point::reach("manager.remove.unmounted");
        remove_whole(&self.path).map_err(|source| self.error(&self.path, source))?;
        davit_fail_point::reach("manager.remove.bundle-removed");
        remove_whole(&self.work).map_err(|source| self.error(&self.work, source))
    }

    fn error(&self, path: &Path, source: io::Error) -> TaskError {
        TaskError::Bundle {
            path: path.into(),
            source,
        }
    }
}

/// The group that group 0 of a container is outside; `None` where it is the same.
fn remapped_group(spec: &[u8]) -> Option<u32> {
    let spec: Spec = serde_json::from_slice(spec).ok()?;
    let mappings = spec.linux?.gid_mappings;
    let of_root = mappings
        .iter()
        .find(|mapping| mapping.container_id == 0 && mapping.size > 0)?;
    (of_root.host_id != 0).then_some(of_root.host_id)
}

/// What matters here of an OCI specification.
#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    gid_mappings: Vec<Mapping>,
}

#[derive(Deserialize)]
struct Mapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(path)
}

/// Parents can be passed by a container's remapped root, but not listed.
fn make_parents(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o711).create(path)
}

/// What a bundle is called while it is being removed: hidden, so that a restoration passes over it.
pub(crate) const DOOMED_PREFIX: char = '.';

fn remove_whole(path: &Path) -> io::Result<()> {
    let name = path.file_name().expect("a bundle has a name").to_string_lossy();
    let doomed = path.with_file_name(format!("{DOOMED_PREFIX}{name}"));
    match fs::rename(path, &doomed) {
        Ok(()) => {
            davit_fail_point::reach("manager.remove.renamed");
            fs::remove_dir_all(&doomed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A folder of an earlier removal that was cut off stands in the way.
        Err(_) => {
            absent(fs::remove_dir_all(&doomed))?;
            fs::rename(path, &doomed)?;
            fs::remove_dir_all(&doomed)
        }
    }
}

/// The shim has unmounted it as a rule; only where the kernel refuses to remove it the table of mounts is read. Never
/// recursive: should a mount be left after all, its files must survive this.
fn remove_mount_point(path: &Path) -> io::Result<()> {
    if absent(fs::remove_dir(path)).is_ok() {
        return Ok(());
    }
    mounts::unmount_below(path)?;
    absent(fs::remove_dir(path))
}

fn absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(folder: &Path) -> Bundle {
        Bundle::at(
            &folder.join("root"),
            &folder.join("state"),
            &"n".parse().unwrap(),
            &"c".parse().unwrap(),
        )
    }

    #[test]
    fn a_bundle_is_made_private_and_removed_whole() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        assert!(bundle.path.ends_with("state/io.containerd.runtime.v2.task/n/c"));
        bundle.create(Some(b"{}")).unwrap();
        assert_eq!(fs::metadata(&bundle.path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read(bundle.file("config.json")).unwrap(), b"{}");
        assert_eq!(fs::read_link(bundle.file("work")).unwrap(), bundle.work);
        bundle.remove().unwrap();
        assert!(!bundle.path.exists() && !bundle.work.exists());
        bundle.remove().unwrap();
    }

    #[test]
    fn the_group_of_a_remapped_root_is_read_from_the_specification() {
        for (mappings, group) in [
            (r#"[{"containerID":0,"hostID":100000,"size":65536}]"#, Some(100_000)),
            (r#"[{"containerID":0,"hostID":0,"size":1}]"#, None),
            (r#"[{"containerID":1,"hostID":5,"size":1}]"#, None),
            ("[]", None),
        ] {
            let spec = format!(r#"{{"linux":{{"gidMappings":{mappings}}}}}"#);
            assert_eq!(remapped_group(spec.as_bytes()), group, "{mappings}");
        }
        assert_eq!(remapped_group(b"{}"), None);
        assert_eq!(remapped_group(b"not JSON"), None);
    }

    #[test]
    fn a_second_bundle_of_the_same_id_is_refused_and_the_first_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        bundle.create(Some(b"first")).unwrap();
        assert!(matches!(bundle.create(Some(b"second")), Err(TaskError::Exists(_))));
        assert_eq!(fs::read(bundle.file("config.json")).unwrap(), b"first");
    }

    #[test]
    fn a_root_file_system_that_is_not_empty_survives_a_removal() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        bundle.create(None).unwrap();
        fs::write(bundle.file("rootfs/precious"), b"x").unwrap();
        assert!(bundle.remove().is_err());
        assert!(bundle.file("rootfs/precious").exists());
    }

    #[test]
    fn leftovers_of_a_removal_that_was_cut_off_do_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        bundle.create(None).unwrap();
        let doomed = bundle.path.with_file_name(".c");
        fs::create_dir_all(doomed.join("x")).unwrap();
        bundle.remove().unwrap();
        assert!(!doomed.exists());
    }
}
