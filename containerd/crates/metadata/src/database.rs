use std::{
    fs::{self, File},
    io,
    path::Path,
};

use redb::{ReadableDatabase, TableDefinition};

use crate::{Reader, StoreError, Writer};

/// The newest schema that this program reads and the one it writes.
const SCHEMA: u64 = 1;

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// The open store. Clones of the `Arc` around it may be used from any thread; one writer works at a time.
pub struct Database {
    redb: redb::Database,
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
        Ok(Self { redb })
    }

    /// Runs `work` on one consistent view. Writers are not held up.
    pub fn read<R, E: From<StoreError>>(&self, work: impl FnOnce(&Reader) -> Result<R, E>) -> Result<R, E> {
        let transaction = self.redb.begin_read().map_err(|e| StoreError::Redb(e.into()))?;
        work(&Reader::new(transaction))
    }

    /// Runs `work` alone and makes what it wrote durable; where it fails, nothing is written.
    pub fn write<R, E: From<StoreError>>(&self, work: impl FnOnce(&Writer) -> Result<R, E>) -> Result<R, E> {
        let mut transaction = self.redb.begin_write().map_err(|e| StoreError::Redb(e.into()))?;
        transaction.set_two_phase_commit(true);
        let writer = Writer::new(transaction);
        let result = work(&writer)?;
        davit_fail_point::reach("manager.store.written");
        writer.into_inner().commit().map_err(|e| StoreError::Redb(e.into()))?;
        davit_fail_point::reach("manager.store.committed");
        Ok(result)
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
