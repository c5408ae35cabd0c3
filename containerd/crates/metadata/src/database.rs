use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use redb::{ReadableDatabase, TableDefinition};

use crate::{Reader, StoreError, Writer};

/// The newest schema that this program reads and the one it writes.
const SCHEMA: u64 = 1;

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The room that the file system must have again before the store is opened anew.
const ENOUGH: u64 = 1 << 20;
/// How long those who read may take before the store is opened anew.
const LAST_READERS: Duration = Duration::from_secs(5);

/// The open store. Clones of the `Arc` around it may be used from any thread; one writer works at a time.
///
/// redb takes no more writes once one has met an I/O error, a full disk among them, until it is opened again. The next write opens it
/// again, as soon as there is room; until then everything can be read.
pub struct Database {
    path: PathBuf,
    /// Nothing where it could not be opened again.
    redb: RwLock<Option<Arc<redb::Database>>>,
}

impl Database {
    /// Opens the store at `path`, making it where there is none.
    ///
    /// A store of an unknown newer schema is refused and left as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            Self::make(path)?;
        }
        let database = Self::open_file(path)?;
        database.check_schema()?;
        Ok(database)
    }

    /// Makes an empty store under another name first: a death in the middle must not leave half a store, which no later start
    /// could open.
    fn make(path: &Path) -> Result<(), StoreError> {
        let unfinished = path.with_extension("new");
        let failed = |source: io::Error| StoreError::Open {
            path: path.display().to_string(),
            source: redb::StorageError::Io(source).into(),
        };
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Self::open_file(&unfinished)?.check_schema()?;
        davit_fail_point::reach("manager.serve.store-drafted");
        fs::rename(&unfinished, path).map_err(failed)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }

    fn open_file(path: &Path) -> Result<Self, StoreError> {
        let redb = redb::Database::create(path).map_err(|source| StoreError::Open {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            redb: RwLock::new(Some(Arc::new(redb))),
        })
    }

    /// Runs `work` on one consistent view. Writers are not held up.
    pub fn read<R, E: From<StoreError>>(&self, work: impl FnOnce(&Reader) -> Result<R, E>) -> Result<R, E> {
        let redb = self.redb()?;
        let transaction = redb.begin_read().map_err(|e| StoreError::Redb(e.into()))?;
        work(&Reader::new(transaction))
    }

    /// Runs `work` alone and makes what it wrote durable; where it fails, nothing is written.
    pub fn write<R, E: From<StoreError>>(&self, work: impl FnOnce(&Writer) -> Result<R, E>) -> Result<R, E> {
        let mut redb = self.redb()?;
        let mut transaction = match redb.begin_write() {
            Err(error) if is_broken(&error) => {
                redb = self.open_again(Some(redb))?;
                redb.begin_write()
            }
            transaction => transaction,
        }
        .map_err(|e| StoreError::Redb(e.into()))?;
        transaction.set_two_phase_commit(true);
        let writer = Writer::new(transaction);
        let result = work(&writer)?;
        davit_fail_point::reach("manager.store.written");
        writer.into_inner().commit().map_err(|e| StoreError::Redb(e.into()))?;
        davit_fail_point::reach("manager.store.committed");
        Ok(result)
    }

    fn redb(&self) -> Result<Arc<redb::Database>, StoreError> {
        let redb = self.redb.read().unwrap_or_else(PoisonError::into_inner).clone();
        redb.map_or_else(|| self.open_again(None), Ok)
    }

    /// Opens a store that takes no writes any more. Nothing is tried where there is no room: one that does not open cannot be read
    /// either.
    fn open_again(&self, broken: Option<Arc<redb::Database>>) -> Result<Arc<redb::Database>, StoreError> {
        let mut place = self.redb.write().unwrap_or_else(PoisonError::into_inner);
        let is_broken = |redb: &&Arc<redb::Database>| broken.as_ref().is_some_and(|broken| Arc::ptr_eq(broken, redb));
        if let Some(redb) = place.as_ref().filter(|redb| !is_broken(redb)) {
            // Somebody else was faster.
            return Ok(redb.clone());
        }
        drop(broken);
        let room = room(&self.path);
        if room < ENOUGH {
            let path = self.path.display().to_string();
            return Err(StoreError::Full { path, room });
        }
        // Its lock on the file goes before the next can be taken.
        if let Err(redb) = place.take().map_or(Ok(()), close) {
            *place = Some(redb);
            return Err(StoreError::Redb(redb::Error::PreviousIo));
        }
        let opened = redb::Database::open(&self.path).map_err(|source| StoreError::Open {
            path: self.path.display().to_string(),
            source,
        })?;
        tracing::info!(path = %self.path.display(), "the store is opened again after a failed write");
        Ok(place.insert(Arc::new(opened)).clone())
    }

    fn check_schema(&self) -> Result<(), StoreError> {
        self.write(|writer| {
            let found = writer.number("schema")?;
            match found {
                0 => writer.set_number("schema", SCHEMA),
                SCHEMA => Ok(()),
                found => Err(StoreError::TooNew { found, known: SCHEMA }),
            }
        })
    }
}

/// Whether an earlier write has failed for good.
fn is_broken(error: &redb::TransactionError) -> bool {
    use redb::{StorageError, TransactionError};
    matches!(
        error,
        TransactionError::Storage(StorageError::PreviousIo | StorageError::Io(_))
    )
}

/// Closes a store once nobody reads it any more; gives it back where somebody does for too long.
fn close(mut redb: Arc<redb::Database>) -> Result<(), Arc<redb::Database>> {
    let deadline = Instant::now() + LAST_READERS;
    loop {
        redb = match Arc::try_unwrap(redb) {
            Ok(closed) => {
                drop(closed);
                return Ok(());
            }
            Err(redb) if Instant::now() > deadline => return Err(redb),
            Err(redb) => redb,
        };
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The bytes that can still be written to the file system of a file.
fn room(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |system| system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IMAGES, Records};

    #[test]
    fn a_store_of_a_newer_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        let database = Database::open(&path).unwrap();
        database
            .write(|writer| writer.set_number("schema", SCHEMA + 1))
            .unwrap();
        drop(database);
        assert!(matches!(
            Database::open(&path),
            Err(StoreError::TooNew { found: 2, .. })
        ));
    }

    #[test]
    fn a_store_whose_making_was_cut_off_does_not_stand_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        fs::write(dir.path().join("meta.new"), b"torn").unwrap();
        drop(Database::open(&path).unwrap());
        assert!(!dir.path().join("meta.new").exists());
        Database::open(&path).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(&dir.path().join("meta.db")).unwrap();
        let result: Result<(), StoreError> = database.write(|writer| {
            writer.put(&crate::LEASES, "default", "l", &crate::LeaseRecord::default())?;
            Err(StoreError::NoLease("x".into()))
        });
        assert!(result.is_err());
        let leases = database.read(|reader| reader.list(&crate::LEASES, "default")).unwrap();
        assert!(leases.is_empty());
        assert!(
            database
                .read(|reader| reader.get(&IMAGES, "default", "i"))
                .unwrap()
                .is_none()
        );
    }
}
