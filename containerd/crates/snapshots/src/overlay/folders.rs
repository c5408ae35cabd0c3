//! The directories of snapshots, and the mounts that show them.

use std::{
    collections::HashSet,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use davit_metadata::SnapshotKind;

use crate::{Mount, SnapshotError, error::file};

use super::removal::remove_tree;

pub(super) struct Folders {
    root: PathBuf,
    /// Options of every overlay mount.
    options: Vec<String>,
    numbers: Mutex<Numbers>,
}

struct Numbers {
    last: u64,
    /// Directories whose records are not stored yet.
    unrecorded: HashSet<u64>,
}

/// A new directory, removed when dropped before [`NewFolder::keep`].
pub(super) struct NewFolder<'a> {
    folders: &'a Folders,
    id: u64,
    is_kept: bool,
}

impl Folders {
    pub(super) fn open(root: &Path, last_id: u64) -> Result<Self, SnapshotError> {
        let root = root.join("snapshots");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .map_err(file("create", &root))?;
        let mut folders = Self {
            root,
            options: kernel_options(),
            numbers: Mutex::new(Numbers {
                last: last_id,
                unrecorded: HashSet::new(),
            }),
        };
        let highest = folders.list()?.into_iter().max().unwrap_or_default();
        folders.numbers.get_mut().unwrap_or_else(PoisonError::into_inner).last = last_id.max(highest);
        Ok(folders)
    }

    pub(super) fn upper(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string()).join("fs")
    }

    /// Makes the directory of a new snapshot over the directory of its nearest parent, whose owner it takes.
    pub(super) fn make(&self, kind: SnapshotKind, parent: Option<u64>) -> Result<NewFolder<'_>, SnapshotError> {
        let id = {
            let mut numbers = self.lock();
            numbers.last += 1;
            let id = numbers.last;
            numbers.unrecorded.insert(id);
            id
        };
        let new = NewFolder {
            folders: self,
            id,
            is_kept: false,
        };
        let folder = self.root.join(id.to_string());
        self.fill(&folder, kind, parent).map_err(file("create", &folder))?;
        Ok(new)
    }

    fn fill(&self, folder: &Path, kind: SnapshotKind, parent: Option<u64>) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(folder)?;
        let upper = folder.join("fs");
        DirBuilder::new().mode(0o755).create(&upper)?;
        if kind == SnapshotKind::Active {
            DirBuilder::new().mode(0o711).create(folder.join("work"))?;
        }
        if let Some(parent) = parent {
            let owner = fs::symlink_metadata(self.upper(parent))?;
            lchown(&upper, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    }

    /// Removes a directory. One that resists is left to the next cleanup.
    pub(super) fn remove(&self, id: u64) {
        let folder = self.root.join(id.to_string());
        match remove_tree(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove a snapshot directory");
            }
            _ => {}
        }
    }

    /// The numbers of all directories but those that are being made.
    pub(super) fn finished(&self) -> Result<Vec<u64>, SnapshotError> {
        let found = self.list()?;
        let numbers = self.lock();
        Ok(found
            .into_iter()
            .filter(|id| !numbers.unrecorded.contains(id))
            .collect())
    }

    /// Makes every file below durable.
    pub(super) fn sync(&self) -> Result<(), SnapshotError> {
        let root = File::open(&self.root).map_err(file("open", &self.root))?;
        rustix::fs::syncfs(&root).map_err(file("sync", &self.root))
    }

    /// The mounts of an active snapshot or view with these parents, the nearest first.
    pub(super) fn mounts(&self, kind: SnapshotKind, id: u64, parents: &[u64]) -> Vec<Mount> {
        let text = |path: PathBuf| path.display().to_string();
        let is_active = kind == SnapshotKind::Active;
        match parents {
            [] => vec![Mount::bind(text(self.upper(id)), if is_active { "rw" } else { "ro" })],
            [parent] if !is_active => vec![Mount::bind(text(self.upper(*parent)), "ro")],
            parents => {
                let mut options = Vec::new();
                if is_active {
                    options.push(format!("workdir={}", text(self.root.join(id.to_string()).join("work"))));
                    options.push(format!("upperdir={}", text(self.upper(id))));
                }
                let lower: Vec<_> = parents.iter().map(|parent| text(self.upper(*parent))).collect();
                options.push(format!("lowerdir={}", lower.join(":")));
                options.extend(self.options.iter().cloned());
                vec![Mount {
                    kind: "overlay".into(),
                    source: "overlay".into(),
                    target: String::new(),
                    options,
                }]
            }
        }
    }

    fn list(&self) -> Result<Vec<u64>, SnapshotError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(file("list", &self.root))? {
            let name = entry.map_err(file("list", &self.root))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        Ok(ids)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NewFolder<'_> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Ends the guard: the record is stored.
    pub(super) fn keep(mut self) -> u64 {
        self.is_kept = true;
        self.id
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.folders.remove(self.id);
        }
        self.folders.lock().unrecorded.remove(&self.id);
    }
}

/// `index=off`, since an upper directory must stay mountable over others; `userxattr` where trusted ones are denied.
fn kernel_options() -> Vec<String> {
    let mut options = Vec::new();
    if in_user_namespace() {
        options.push("userxattr".into());
    }
    if Path::new("/sys/module/overlay/parameters/index").exists() {
        options.push("index=off".into());
    }
    options
}

fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let is_whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    !is_whole && !map.is_empty()
}
