//! The folder of all containers.
//!
//! ```text
//! <root>/<id>/state.json    the record (written aside and renamed: whole or not there)
//! <root>/<id>/config.json   the config as it was when the container was made
//! <root>/<id>/start.sock    there until the container is started
//! <root>/.seccomp/          compiled filters
//! ```

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use davit_spec::Config;

use super::{id::ContainerId, record::Record};
use crate::errno::{Attempt, CallError};

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";

/// Why a container cannot be found, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists,
    /// No container of this id.
    #[error("container does not exist")]
    Absent,
    /// A file of it is damaged.
    #[error("{path:?}: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// The folder of all containers.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The folder of one container.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Store {
    /// The store in a folder, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Store { root }
    }

    /// Where compiled filters are kept.
    pub fn filters(&self) -> PathBuf {
        self.root.join(".seccomp")
    }

    /// Where a container is kept, or would be.
    pub fn place(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Makes the folder of a new container; that it can be made once only is what reserves the id.
    pub fn reserve(&self, id: &ContainerId) -> Result<Folder, StoreError> {
        let path = self.place(id);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let made = match builder.create(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .mode(0o711)
                    .recursive(true)
                    .create(&self.root)
                    .attempt("make", self.root.display())?;
                builder.create(&path)
            }
            made => made,
        };
        match made {
            Ok(()) => Ok(Folder { path }),
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Err(StoreError::Exists),
            Err(err) => Err(err).attempt("make", path.display()).map_err(StoreError::Call),
        }
    }

    /// Finds a container.
    pub fn find(&self, id: &ContainerId) -> Result<(Folder, Record), StoreError> {
        let folder = Folder { path: self.place(id) };
        let record = folder.record()?;
        Ok((folder, record))
    }

    /// A container's folder, whether it has a record or was left behind by a failed creation.
    pub fn remains(&self, id: &ContainerId) -> Option<Folder> {
        let path = self.place(id);
        path.is_dir().then_some(Folder { path })
    }

    /// All containers, by id; folders without a whole record are passed over.
    pub fn list(&self) -> Result<Vec<(Folder, Record)>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.attempt("read", self.root.display())?,
        };
        let mut found: Vec<_> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|id| self.find(&id).ok())
            .collect();
        found.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
        Ok(found)
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the record.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        let json = serde_json::to_vec(record).expect("a record is made of text and numbers");
        let aside = self.path.join(".state.json");
        fs::write(&aside, json).attempt("write", aside.display())?;
        Ok(fs::rename(&aside, self.path.join(RECORD)).attempt("rename", aside.display())?)
    }

    /// Keeps a copy of the config, which later changes of the bundle do not touch.
    pub fn save_config(&self, json: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(CONFIG);
        Ok(fs::write(&path, json).attempt("write", path.display())?)
    }

    /// The config as it was when the container was made.
    pub fn config(&self) -> Result<Config, StoreError> {
        let path = self.path.join(CONFIG);
        let json = fs::read(&path).attempt("read", path.display())?;
        Config::parse(&json).map_err(|err| StoreError::Damaged {
            path,
            problem: err.to_string(),
        })
    }

    /// Removes all of it.
    pub fn remove(&self) -> Result<(), StoreError> {
        match fs::remove_dir_all(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err)
                .attempt("remove", self.path.display())
                .map_err(StoreError::Call),
            _ => Ok(()),
        }
    }

    fn record(&self) -> Result<Record, StoreError> {
        let path = self.path.join(RECORD);
        let json = match fs::read(&path) {
            Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(StoreError::Absent);
            }
            json => json.attempt("read", path.display())?,
        };
        serde_json::from_slice(&json).map_err(|err| StoreError::Damaged {
            path,
            problem: err.to_string(),
        })
    }
}

#[cfg(test)]
mod tests;
