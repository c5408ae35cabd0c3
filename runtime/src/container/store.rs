//! The folder of all containers.
//!
//! ```text
//! <root>/<id>/state.json    the record (written aside and renamed: whole or not there)
//! <root>/<id>/config.json   the config as it was when the container was made
//! <root>/<id>/start.sock    there until the container is started
//! <root>/<id>/.planned.json the record before there is a process, and who makes one: the cgroup may be there, and may be
//!                           another's
//! <root>/<id>/.made.json    the same when the cgroup was made: it and whoever is in it are this container's
//! <root>/<id>/.done.json    the same when the container is made
//! <root>/.seccomp/          compiled filters
//! ```
//!
//! Whoever makes or removes a container holds the [`Claim`] on its folder meanwhile. What a creation that was killed has
//! left is a folder without state.json and without a claim.

mod claim;

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use davit_spec::Config;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{id::ContainerId, process::ProcessKey, record::Record};
use crate::{
    errno::{Attempt, CallError},
    fail_point,
};

pub use claim::Claim;

const RECORD: &str = "state.json";
const PLANNED: &str = ".planned.json";
const MADE: &str = ".made.json";
const DONE: &str = ".done.json";
const CONFIG: &str = "config.json";

/// How long somebody else may take: a creation that hangs in a hook must not hang its deletion.
const PATIENCE: Duration = Duration::from_secs(10);

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
    #[error("{path:?} is damaged: {problem} (delete --force removes the container)")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another runtime's, whose processes and cgroups are known to that alone.
    #[error("{0:?} was written by another runtime (runc?): only that can act on the container")]
    Foreign(PathBuf),
    /// What is to be kept cannot be told.
    #[error("cannot write the container's record as JSON: {0}")]
    Unkept(serde_json::Error),
    /// Somebody else makes or removes it, and does not come to an end.
    #[error("container is being made or removed by another process (a hook that does not end?): {0:?} is locked")]
    Claimed(PathBuf),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A container, or why it cannot be read.
pub type Found = Result<(Folder, Record), StoreError>;

/// What was planned, for when there is no whole record.
#[derive(Debug, Deserialize)]
pub struct Plan {
    /// The record as it is before there is a process.
    #[serde(flatten)]
    pub record: Record,
    /// Who makes the container, as long as it is being made.
    #[serde(default)]
    pub maker: Option<ProcessKey>,
    /// Whether the cgroup is the container's, with whoever is in it.
    #[serde(skip)]
    pub cgroup_is_made: bool,
}

/// A [`Plan`] to be written.
#[derive(Serialize)]
struct Draft<'a> {
    #[serde(flatten)]
    record: &'a Record,
    maker: Option<ProcessKey>,
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

    /// Fails where nobody has made the folder yet.
    pub fn must_exist(&self) -> Result<(), StoreError> {
        let found = fs::metadata(&self.root).attempt("open", self.root.display());
        Ok(found.map(drop)?)
    }

    /// Where compiled filters are kept.
    pub fn filters(&self) -> PathBuf {
        self.root.join(".seccomp")
    }

    /// Where a container is kept, or would be.
    pub fn place(&self, id: &ContainerId) -> PathBuf {
        self.root.join(id.as_str())
    }

    /// Makes the folder of a new container, with a copy of its config, which later changes of the bundle do not touch.
    /// That the folder, and the copy in it, can be made once only is what reserves the id.
    pub fn reserve(&self, id: &ContainerId, config: &[u8]) -> Result<(Folder, Claim), StoreError> {
        loop {
            let folder = self.make_folder(id)?;
            fail_point::reach("create.reserved");
            // In between somebody may have taken the empty folder for what a killed creation has left; and where it is
            // there, it may be one that somebody else has made since then.
            let Some(claim) = folder.claim()? else {
                continue;
            };
            let path = folder.path.join(CONFIG);
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            if matches!(&file, Err(err) if err.kind() == io::ErrorKind::AlreadyExists) {
                return Err(StoreError::Exists);
            }
            if let Err(err) = file.and_then(|mut file| file.write_all(config)) {
                folder.remove()?;
                return Err(err).attempt("write", path.display()).map_err(StoreError::Call);
            }
            return Ok((folder, claim));
        }
    }

    fn make_folder(&self, id: &ContainerId) -> Result<Folder, StoreError> {
        let path = self.place(id);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let made = match builder.create(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                self.make_root().attempt("make", self.root.display())?;
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

    /// The folder itself is nobody else's; those on the way to it may be.
    fn make_root(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        if let Some(parent) = self.root.parent() {
            builder.mode(0o711).recursive(true).create(parent)?;
        }
        match builder.mode(0o700).recursive(false).create(&self.root) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Finds a container.
    pub fn find(&self, id: &ContainerId) -> Result<(Folder, Record), StoreError> {
        let folder = Folder { path: self.place(id) };
        let record = folder.record()?;
        Ok((folder, record))
    }

    /// What lies under a container's name, whether it has a record or was left behind by a failed creation.
    pub fn remains(&self, id: &ContainerId) -> Result<Option<Folder>, StoreError> {
        let path = self.place(id);
        match path.symlink_metadata() {
            Ok(_) => Ok(Some(Folder { path })),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            // Who may not look does not know.
            Err(err) => Err(err).attempt("look for", path.display()).map_err(StoreError::Call),
        }
    }

    /// All containers, by id, and what cannot be read of them. Names that begin with a dot are the runtime's own.
    pub fn list(&self) -> Result<Vec<(String, Found)>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.attempt("open", self.root.display())?,
        };
        let mut found: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .filter_map(|name| Some((name.clone(), self.find(&name.parse().ok()?))))
            .collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of all containers, in which this one is.
    pub fn store(&self) -> Store {
        let root = self.path.parent().expect("it was made by joining a name to the root");
        Store::new(root.to_owned())
    }

    /// Waits until nobody else makes or removes the container; `None` when the folder is gone by then.
    pub fn claim(&self) -> Result<Option<Claim>, StoreError> {
        self.claim_within(PATIENCE)
    }

    /// The same with another limit.
    pub fn claim_within(&self, patience: Duration) -> Result<Option<Claim>, StoreError> {
        Claim::of(&self.path, patience)
    }

    /// Keeps what is known before the cgroup is made, and who makes it: the calling process.
    pub fn save_plan(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.path.join(PLANNED);
        let draft = Draft {
            record,
            maker: ProcessKey::own(),
        };
        Ok(fs::write(&path, json(&draft)?).attempt("write", path.display())?)
    }

    /// Keeps that the cgroup of the plan is the container's.
    pub fn cgroup_is_made(&self) -> Result<(), StoreError> {
        let path = self.path.join(PLANNED);
        Ok(fs::rename(&path, self.path.join(MADE)).attempt("rename", path.display())?)
    }

    /// Keeps that the container is made.
    pub fn container_is_made(&self) -> Result<(), StoreError> {
        let path = self.path.join(MADE);
        Ok(fs::rename(&path, self.path.join(DONE)).attempt("rename", path.display())?)
    }

    /// Whether somebody is making the container. Who was killed before the end is not.
    pub fn is_being_made(&self) -> bool {
        [MADE, PLANNED].iter().any(|name| self.path.join(name).exists()) && Claim::is_held(&self.path)
    }

    /// What was planned.
    pub fn plan(&self) -> Option<Plan> {
        let read = |name| read::<Plan>(&self.path.join(name)).ok();
        let made = |plan| Plan {
            cgroup_is_made: true,
            ..plan
        };
        // Who has made it may live on, as the runtime of a foreground run does.
        let done = read(DONE).map(|plan| made(Plan { maker: None, ..plan }));
        done.or_else(|| read(MADE).map(made)).or_else(|| read(PLANNED))
    }

    /// Keeps the record.
    pub fn save(&self, record: &Record) -> Result<(), StoreError> {
        let aside = self.path.join(".state.json");
        fs::write(&aside, json(record)?).attempt("write", aside.display())?;
        Ok(fs::rename(&aside, self.path.join(RECORD)).attempt("rename", aside.display())?)
    }

    /// Keeps another config than the reserved one.
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
        let removed = match fs::remove_dir_all(&self.path) {
            Err(err) if err.kind() == io::ErrorKind::NotADirectory => fs::remove_file(&self.path),
            removed => removed,
        };
        match removed {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err)
                .attempt("remove", self.path.display())
                .map_err(StoreError::Call),
            _ => Ok(()),
        }
    }

    fn record(&self) -> Result<Record, StoreError> {
        read(&self.path.join(RECORD))
    }
}

fn json(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(StoreError::Unkept)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let json = match fs::read(path) {
        Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(StoreError::Absent);
        }
        json => json.attempt("read", path.display())?,
    };
    serde_json::from_slice(&json).map_err(|err| match is_foreign(&json) {
        true => StoreError::Foreign(path.to_owned()),
        false => StoreError::Damaged {
            path: path.to_owned(),
            problem: err.to_string(),
        },
    })
}

/// By the field that runc has in place of our `pid`.
fn is_foreign(json: &[u8]) -> bool {
    serde_json::from_slice(json).is_ok_and(|record: serde_json::Value| record.get("init_process_pid").is_some())
}

#[cfg(test)]
mod tests;
