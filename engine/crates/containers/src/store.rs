//! The engine's records on disk.
//!
//! One redb file with two tables:
//!
//! ```text
//! meta         "schema"      -> 1
//! containers   <64-digit id> -> Record as JSON
//! ```
//!
//! One thread owns the file. It takes all changes that wait, commits them together durably, and then answers each: one
//! fdatasync serves as many calls as came while the last one ran.

use std::{path::Path, sync::mpsc, thread};

use davit_vocabulary::ContainerId;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use tokio::sync::oneshot;

use crate::{error::ContainerError, record::Record};

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const CONTAINERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("containers");
const SCHEMA: u64 = 1;

enum Change {
    Put(ContainerId, Vec<u8>),
    Delete(ContainerId),
}

struct Job {
    change: Change,
    done: oneshot::Sender<Result<(), String>>,
}

/// The records. Cheap to clone; the file closes with the last clone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or makes the file, and reads what is in it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), ContainerError> {
        let database = Database::create(path).map_err(failed)?;
        prepare(&database)?;
        let records = read_all(&database)?;
        let (jobs, queue) = mpsc::channel();
        thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(&database, &queue))
            .map_err(failed)?;
        Ok((Self { jobs }, records))
    }

    /// Writes a record; returns when it is on disk.
    pub async fn put(&self, record: &Record) -> Result<(), ContainerError> {
        let bytes = serde_json::to_vec(record).map_err(failed)?;
        self.run(Change::Put(record.id.clone(), bytes)).await
    }

    /// Deletes a record; returns when that is on disk.
    pub async fn delete(&self, id: &ContainerId) -> Result<(), ContainerError> {
        self.run(Change::Delete(id.clone())).await
    }

    async fn run(&self, change: Change) -> Result<(), ContainerError> {
        let (done, answer) = oneshot::channel();
        let gone = |_| ContainerError::Store("the store's thread has ended".into());
        self.jobs.send(Job { change, done }).map_err(|_| gone(()))?;
        match answer.await {
            Ok(result) => result.map_err(ContainerError::Store),
            Err(_) => Err(gone(())),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> ContainerError {
    ContainerError::Store(error.to_string())
}

fn prepare(database: &Database) -> Result<(), ContainerError> {
    let transaction = database.begin_write().map_err(failed)?;
    {
        let mut meta = transaction.open_table(META).map_err(failed)?;
        let found = meta.get("schema").map_err(failed)?.map(|value| value.value());
        match found {
            None => drop(meta.insert("schema", SCHEMA).map_err(failed)?),
            Some(SCHEMA) => {}
            Some(other) => return Err(failed(format!("schema {other} is newer than this engine's, {SCHEMA}"))),
        }
        transaction.open_table(CONTAINERS).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

fn read_all(database: &Database) -> Result<Vec<Record>, ContainerError> {
    let transaction = database.begin_read().map_err(failed)?;
    let table = transaction.open_table(CONTAINERS).map_err(failed)?;
    let mut records = Vec::new();
    for entry in table.iter().map_err(failed)? {
        let (id, bytes) = entry.map_err(failed)?;
        match serde_json::from_slice(bytes.value()) {
            Ok(record) => records.push(record),
            // One broken record must not keep the others from the user.
            Err(error) => tracing::error!(id = id.value(), %error, "a stored container cannot be read"),
        }
    }
    Ok(records)
}

fn serve(database: &Database, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let jobs: Vec<Job> = std::iter::once(first).chain(queue.try_iter()).collect();
        let result = commit(database, &jobs).map_err(|error| error.to_string());
        for job in jobs {
            // A caller that has gone away needs no answer.
            let _ = job.done.send(result.clone());
        }
    }
}

fn commit(database: &Database, jobs: &[Job]) -> Result<(), ContainerError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_two_phase_commit(true);
    {
        let mut table = transaction.open_table(CONTAINERS).map_err(failed)?;
        for job in jobs {
            match &job.change {
                Change::Put(id, bytes) => drop(table.insert(id.as_str(), bytes.as_slice()).map_err(failed)?),
                Change::Delete(id) => drop(table.remove(id.as_str()).map_err(failed)?),
            }
        }
    }
    transaction.commit().map_err(failed)
}
