//! Unfinished writes on disk.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use crate::{ContentError, error::file};

/// The folder of unfinished writes.
pub(crate) struct Ingests {
    root: PathBuf,
}

/// An unfinished write, opened for appending.
pub(crate) struct IngestFile {
    pub(crate) folder: PathBuf,
    pub(crate) data: File,
    pub(crate) hasher: Sha256,
    pub(crate) offset: u64,
    pub(crate) total: u64,
}

/// What the files of a write say about it.
pub(crate) struct Progress {
    pub(crate) offset: u64,
    pub(crate) total: u64,
    pub(crate) updated_at: SystemTime,
}

impl Ingests {
    pub(crate) fn open(root: &Path) -> Result<Self, ContentError> {
        let root = root.join("ingest");
        fs::create_dir_all(&root).map_err(file("create", &root))?;
        Ok(Self { root })
    }

    /// The folder of the write of `name`, which is the namespace and the client's ref.
    fn folder(&self, name: &str) -> PathBuf {
        self.root.join(folder_name(name))
    }

    /// Opens the write of `name` at its end, or begins it. What is there is read once for its hash.
    pub(crate) fn writer(&self, name: &str, total: u64) -> Result<IngestFile, ContentError> {
        let folder = self.folder(name);
        if !folder.join("data").exists() {
            begin(&folder, name, total).map_err(file("create", &folder))?;
        }
        let path = folder.join("data");
        let mut data = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&path)
            .map_err(file("open", &path))?;
        let mut hasher = Sha256::new();
        let offset = hash_all(&mut data, &mut hasher).map_err(file("read", &path))?;
        let known = read_total(&folder);
        if total > 0 && known != total {
            let path = folder.join("total");
            fs::write(&path, total.to_string()).map_err(file("write", &path))?;
        }
        Ok(IngestFile {
            folder,
            data,
            hasher,
            offset,
            total: if total > 0 { total } else { known },
        })
    }

    pub(crate) fn progress(&self, name: &str) -> Result<Option<Progress>, ContentError> {
        let folder = self.folder(name);
        let path = folder.join("data");
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(file("stat", &path)(error)),
        };
        Ok(Some(Progress {
            offset: metadata.len(),
            total: read_total(&folder),
            updated_at: metadata.modified().map_err(file("stat", &path))?,
        }))
    }

    pub(crate) fn remove(&self, name: &str) -> Result<(), ContentError> {
        remove_folder(&self.folder(name))
    }

    /// The folders of all writes.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>, ContentError> {
        let entries = fs::read_dir(&self.root).map_err(file("list", &self.root))?;
        entries
            .map(|entry| Ok(entry.map_err(file("list", &self.root))?.path()))
            .collect()
    }

    /// Removes those of `folders` that are not of the writes named.
    pub(crate) fn remove_all_but(&self, folders: Vec<PathBuf>, names: &[String]) -> Result<(), ContentError> {
        let kept: HashSet<PathBuf> = names.iter().map(|name| self.folder(name)).collect();
        for folder in folders.into_iter().filter(|folder| !kept.contains(folder)) {
            tracing::info!(folder = %folder.display(), "removing a write that nobody knows");
            remove_folder(&folder)?;
        }
        Ok(())
    }
}

impl IngestFile {
    /// When something was last written, by whichever process.
    pub(crate) fn updated_at(&self) -> io::Result<SystemTime> {
        self.data.metadata()?.modified()
    }

    /// Forgets what was written.
    pub(crate) fn truncate(&mut self) -> io::Result<()> {
        self.data.set_len(0)?;
        self.hasher = Sha256::new();
        self.offset = 0;
        Ok(())
    }

    /// Notes when the write was last worked on, for people and tools that look at the folder.
    pub(crate) fn note_update(&self) {
        if let Err(error) = fs::write(self.folder.join("updatedat"), jiff::Timestamp::now().to_string()) {
            tracing::debug!(%error, "cannot note the time of a write");
        }
    }
}

fn folder_name(name: &str) -> String {
    hex::encode(Sha256::digest(name.as_bytes()))
}

fn begin(folder: &Path, name: &str, total: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let now = jiff::Timestamp::now().to_string();
    fs::write(folder.join("ref"), name)?;
    fs::write(folder.join("startedat"), &now)?;
    fs::write(folder.join("updatedat"), &now)?;
    if total > 0 {
        fs::write(folder.join("total"), total.to_string())?;
    }
    File::create(folder.join("data")).map(drop)
}

fn read_total(folder: &Path) -> u64 {
    let text = fs::read_to_string(folder.join("total")).unwrap_or_default();
    text.trim().parse().unwrap_or_default()
}

fn hash_all(data: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 256 * 1024];
    let mut length = 0;
    loop {
        match data.read(&mut buffer)? {
            0 => return Ok(length),
            count => {
                hasher.update(&buffer[..count]);
                length += count as u64;
            }
        }
    }
}

fn remove_folder(folder: &Path) -> Result<(), ContentError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", folder)(error)),
        _ => Ok(()),
    }
}
