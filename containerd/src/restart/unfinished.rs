//! Restarts that are under way, written down: of a task that was taken down nothing else tells how it ended.
//!
//! One file a restart, `<state>/io.containerd.monitor.container.v1.restart/<namespace>/<id>`, with the exit status and the
//! number of the restart. It is written before anything is done, and removed when the new task is started. It lies where the
//! bundles lie: a reboot takes both.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Key, labels::Restart};

/// The folder below the state, by the name of containerd's plugin.
const FOLDER: &str = "io.containerd.monitor.container.v1.restart";

/// A record that cannot be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("record of a restart {path}: {source}")]
pub(super) struct UnfinishedError {
    path: PathBuf,
    source: io::Error,
}

/// The records of one daemon. Calls touch a small file each.
#[derive(Debug)]
pub(super) struct Unfinished {
    folder: PathBuf,
}

impl Unfinished {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            folder: state.join(FOLDER),
        }
    }

    /// Writes down what is about to be done.
    pub(super) fn begin(&self, key: &Key, restart: Restart) -> Result<(), UnfinishedError> {
        let path = self.path(key);
        // No container's id begins with a dot.
        let draft = path.with_file_name(format!(".{}", key.id));
        let write = || {
            fs::create_dir_all(self.folder.join(key.namespace.as_str()))?;
            fs::write(&draft, format!("{} {}", restart.exit_status, restart.number))?;
            davit_fail_point::reach("manager.restart.note-drafted");
            fs::rename(&draft, &path)
        };
        write().map_err(|source| UnfinishedError { path, source })
    }

    /// Says that there is nothing to go on with.
    pub(super) fn end(&self, key: &Key) {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "remove the record of a restart");
            }
            _ => {}
        }
    }

    /// What was begun and not ended.
    pub(super) fn get(&self, key: &Key) -> Option<Restart> {
        let text = fs::read_to_string(self.path(key)).ok()?;
        let (exit_status, number) = text.split_once(' ')?;
        Some(Restart {
            exit_status: exit_status.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// All containers with a record. What cannot be read is none.
    pub(super) fn list(&self) -> Vec<Key> {
        let mut keys = Vec::new();
        for namespace in names(&self.folder) {
            for id in names(&self.folder.join(&namespace)) {
                let key = namespace.parse().ok().and_then(|namespace| Key::of(&namespace, &id));
                keys.extend(key);
            }
        }
        keys
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.namespace.as_str()).join(key.id.as_str())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_is_found_by_the_next_daemon_until_it_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let key = Key {
            namespace: "n".parse().unwrap(),
            id: "c".parse().unwrap(),
        };
        let before = Unfinished::new(folder.path());
        assert!(before.list().is_empty());
        let restart = Restart {
            exit_status: 7,
            number: 2,
        };
        before.begin(&key, restart).unwrap();
        let after = Unfinished::new(folder.path());
        assert_eq!((after.list(), after.get(&key)), (vec![key.clone()], Some(restart)));
        after.end(&key);
        after.end(&key);
        assert_eq!((after.list(), after.get(&key)), (Vec::new(), None));
    }
}
