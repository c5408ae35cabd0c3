use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use davit_metadata::{
    CONTENT, Change, ContentRecord, Database, INGESTS, IngestRecord, LabelChange, Labels, Listener, Records, Resource,
    Scope, StoreError, check_labels,
};
use davit_vocabulary::Digest;

use crate::{
    BlobReader, ContentError, Info, Status, Writer,
    blobs::Blobs,
    ingest::{IngestFile, Ingests},
    writer::{RefLock, Source},
};

/// Blobs and unfinished writes, by namespace. Clones share one store.
#[derive(Clone)]
pub struct ContentStore {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    database: Arc<Database>,
    blobs: Blobs,
    ingests: Ingests,
    listener: Listener,
    /// Refs with an open writer.
    locked: Mutex<HashSet<String>>,
    /// Held while the set of blobs and the records of it change together: a blob is given its record, or loses its last
    /// one and then its file. Only a rename or an unlink happens under it.
    membership: Mutex<()>,
}

impl ContentStore {
    /// Opens the store under `root` and removes what a crash left without a record.
    pub fn open(root: &Path, database: Arc<Database>, listener: Listener) -> Result<Self, ContentError> {
        let shared = Shared {
            blobs: Blobs::open(root)?,
            ingests: Ingests::open(root)?,
            database,
            listener,
            locked: Mutex::default(),
            membership: Mutex::default(),
        };
        shared.remove_orphans()?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What the namespace knows of a blob.
    pub fn info(&self, scope: &Scope, digest: &Digest) -> Result<Info, ContentError> {
        let record = self
            .shared
            .database
            .read(|view| view.get(&CONTENT, &scope.namespace, digest.as_str()))?;
        let record = record.ok_or_else(|| ContentError::NotFound(digest.clone()))?;
        Ok(Info::new(digest.clone(), record))
    }

    /// All blobs of the namespace, sorted by digest.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Info>, ContentError> {
        let records = self
            .shared
            .database
            .read(|view| view.list(&CONTENT, &scope.namespace))?;
        let infos = records
            .into_iter()
            .filter_map(|(digest, record)| Some(Info::new(digest.parse().ok()?, record)));
        Ok(infos.collect())
    }

    /// Changes the labels of a blob.
    pub fn update(&self, scope: &Scope, digest: &Digest, changes: Vec<LabelChange>) -> Result<Info, ContentError> {
        self.shared.database.write(|writer| {
            let mut record = writer
                .get(&CONTENT, &scope.namespace, digest.as_str())?
                .ok_or_else(|| ContentError::NotFound(digest.clone()))?;
            LabelChange::apply(changes, &mut record.labels);
            check_labels("info", &record.labels)?;
            record.updated_at = SystemTime::now();
            writer.put(&CONTENT, &scope.namespace, digest.as_str(), &record)?;
            Ok(Info::new(digest.clone(), record))
        })
    }

    /// Adds labels to a blob, and writes nothing where it has them all.
    pub fn add_labels(&self, scope: &Scope, digest: &Digest, labels: Labels) -> Result<(), ContentError> {
        let known = self.info(scope, digest)?.labels;
        let missing = labels.into_iter().filter(|(key, value)| known.get(key) != Some(value));
        let changes: Vec<_> = missing.map(|(key, value)| LabelChange::Set(key, value)).collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.update(scope, digest, changes).map(drop)
    }

    /// Puts a blob of the namespace under the scope's lease.
    pub fn hold(&self, scope: &Scope, digest: &Digest) -> Result<(), ContentError> {
        if scope.lease.is_none() {
            return Ok(());
        }
        Ok(self
            .shared
            .database
            .write(|writer| scope.hold(writer, Resource::content(digest)))?)
    }

    /// Takes a blob from the namespace, and its file where it was the last one that had it.
    pub fn delete(&self, scope: &Scope, digest: &Digest) -> Result<(), ContentError> {
        let _membership = self.lock_membership();
        let is_last = self.shared.database.write(|writer| {
            if !writer.delete(&CONTENT, &scope.namespace, digest.as_str())? {
                return Err(ContentError::NotFound(digest.clone()));
            }
            scope.release(writer, &Resource::content(digest))?;
            Ok(!is_known(writer, digest)?)
        })?;
        if is_last {
            self.shared.blobs.remove(digest)?;
        }
        (self.shared.listener)(&scope.namespace, Change::ContentDeleted { digest: digest.clone() });
        Ok(())
    }

    /// Removes the files of those of `digests` that no namespace has any more: the second half of a collection.
    pub fn remove_unknown(&self, digests: &[Digest]) -> Result<(), ContentError> {
        let _membership = self.lock_membership();
        let unknown = self.shared.database.read(|view| {
            let known: HashSet<String> = view
                .list_all(&CONTENT)?
                .into_iter()
                .map(|(_, digest, _)| digest)
                .collect();
            Ok::<_, StoreError>(
                digests
                    .iter()
                    .filter(|digest| !known.contains(digest.as_str()))
                    .collect::<Vec<_>>(),
            )
        })?;
        unknown
            .into_iter()
            .try_for_each(|digest| self.shared.blobs.remove(digest))
    }

    /// Removes the files of writes that have no record any more: the second half of a collection.
    pub fn remove_forgotten_ingests(&self) -> Result<(), ContentError> {
        // A write gets its record before its folder; in this order one that begins now is not taken for forgotten.
        let folders = self.shared.ingests.folders()?;
        self.shared
            .ingests
            .remove_all_but(folders, &self.shared.ingest_names()?)
    }

    /// Opens a blob of the namespace.
    pub fn reader(&self, scope: &Scope, digest: &Digest) -> Result<BlobReader, ContentError> {
        self.info(scope, digest)?;
        self.shared.blobs.reader(digest)
    }

    /// A whole small blob: a manifest, an index or a configuration. One larger than `limit` is refused.
    pub fn read(&self, scope: &Scope, digest: &Digest, limit: u64) -> Result<Vec<u8>, ContentError> {
        let reader = self.reader(scope, digest)?;
        if reader.size() > limit {
            return Err(ContentError::Size {
                name: digest.to_string(),
                found: reader.size(),
                expected: limit,
            });
        }
        reader.read_at(0, usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Opens a write under `reference`, new or resumed.
    ///
    /// Where the namespace has the expected blob, [`ContentError::Exists`]; where only another namespace has it, the
    /// writer stands at the blob's end and a commit is all that is missing.
    pub fn writer(
        &self,
        scope: &Scope,
        reference: &str,
        expected: Option<Digest>,
        total: u64,
    ) -> Result<Writer, ContentError> {
        if reference.is_empty() {
            return Err(ContentError::EmptyRef);
        }
        if let Some(digest) = &expected
            && self.info(scope, digest).is_ok()
        {
            // Who is told that it is there relies on its lease from now on.
            self.hold(scope, digest).map_err(ContentError::not_leased)?;
            return Err(ContentError::Exists(digest.clone()));
        }
        let name = self.shared.ingest_name(scope, reference);
        let lock = RefLock::take(&self.shared, &name, reference)?;
        let now = SystemTime::now();
        let (source, started_at, updated_at) = match &expected {
            Some(digest)
                if self
                    .shared
                    .blobs
                    .size(digest)?
                    .is_some_and(|size| total == 0 || total == size) =>
            {
                let size = self.shared.blobs.size(digest)?.unwrap_or_default();
                let digest = digest.clone();
                (Source::Blob { digest, size }, now, now)
            }
            expected => {
                let expected = expected.clone();
                let (ingest, started_at) = self.shared.begin_ingest(scope, reference, &name, expected, total)?;
                let updated_at = match ingest.offset {
                    0 => now,
                    _ => ingest.updated_at().unwrap_or(now),
                };
                (Source::File(ingest), started_at, updated_at)
            }
        };
        Ok(Writer {
            shared: self.shared.clone(),
            scope: scope.clone(),
            reference: reference.into(),
            expected,
            started_at,
            updated_at,
            source,
            _lock: lock,
        })
    }

    /// How far the write under `reference` is.
    pub fn status(&self, scope: &Scope, reference: &str) -> Result<Status, ContentError> {
        let record = self
            .shared
            .database
            .read(|view| view.get(&INGESTS, &scope.namespace, reference))?;
        let record = record.ok_or_else(|| ContentError::NoIngest(reference.into()))?;
        let status = self.shared.status(scope, reference, record)?;
        status.ok_or_else(|| ContentError::NoIngest(reference.into()))
    }

    /// All unfinished writes of the namespace.
    pub fn statuses(&self, scope: &Scope) -> Result<Vec<Status>, ContentError> {
        let records = self
            .shared
            .database
            .read(|view| view.list(&INGESTS, &scope.namespace))?;
        let mut statuses = Vec::new();
        for (reference, record) in records {
            statuses.extend(self.shared.status(scope, &reference, record)?);
        }
        Ok(statuses)
    }

    /// Ends a write and forgets what was written.
    pub fn abort(&self, scope: &Scope, reference: &str) -> Result<(), ContentError> {
        self.shared.database.write(|writer| {
            if !writer.delete(&INGESTS, &scope.namespace, reference)? {
                return Err(ContentError::NoIngest(reference.into()));
            }
            Ok(scope.release(writer, &Resource::ingest(reference))?)
        })?;
        self.shared.ingests.remove(&self.shared.ingest_name(scope, reference))
    }

    fn lock_membership(&self) -> MutexGuard<'_, ()> {
        self.shared.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What an unfinished write is called below the namespaces.
    pub(crate) fn ingest_name(&self, scope: &Scope, reference: &str) -> String {
        format!("{}/{reference}", scope.namespace)
    }

    /// Notes a write and opens its file; says, too, when it was first noted.
    pub(crate) fn begin_ingest(
        &self,
        scope: &Scope,
        reference: &str,
        name: &str,
        expected: Option<Digest>,
        total: u64,
    ) -> Result<(IngestFile, SystemTime), ContentError> {
        let started_at = self.database.write(|writer| {
            let started_at = match writer.get(&INGESTS, &scope.namespace, reference)? {
                Some(record) => record.started_at,
                None => {
                    let started_at = SystemTime::now();
                    let record = IngestRecord { expected, started_at };
                    writer.put(&INGESTS, &scope.namespace, reference, &record)?;
                    started_at
                }
            };
            scope.hold(writer, Resource::ingest(reference))?;
            Ok::<_, StoreError>(started_at)
        })?;
        Ok((self.ingests.writer(name, total)?, started_at))
    }

    /// Gives a verified and synced write to its namespace as a blob.
    pub(crate) fn publish(
        &self,
        done: &Writer,
        digest: &Digest,
        size: u64,
        labels: Labels,
    ) -> Result<(), ContentError> {
        let scope = &done.scope;
        let membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        if let Source::File(ingest) = &done.source {
            self.blobs.adopt(&ingest.folder.join("data"), digest)?;
        } else if self.blobs.size(digest)?.is_none() {
            return Err(ContentError::NotFound(digest.clone()));
        }
        let is_new = self.database.write(|writer| {
            let is_new = writer.get(&CONTENT, &scope.namespace, digest.as_str())?.is_none();
            if is_new {
                let mut record = ContentRecord::new(size);
                record.labels = labels;
                writer.put(&CONTENT, &scope.namespace, digest.as_str(), &record)?;
            }
            writer.delete(&INGESTS, &scope.namespace, &done.reference)?;
            scope.release(writer, &Resource::ingest(&done.reference))?;
            scope.hold(writer, Resource::content(digest))?;
            Ok::<_, StoreError>(is_new)
        })?;
        drop(membership);
        self.ingests.remove(&self.ingest_name(scope, &done.reference))?;
        if !is_new {
            return Err(ContentError::Exists(digest.clone()));
        }
        let change = Change::ContentCreated {
            digest: digest.clone(),
            size,
        };
        (self.listener)(&scope.namespace, change);
        Ok(())
    }

    pub(crate) fn unlock(&self, name: &str) {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn status(&self, scope: &Scope, reference: &str, record: IngestRecord) -> Result<Option<Status>, ContentError> {
        let progress = self.ingests.progress(&self.ingest_name(scope, reference))?;
        Ok(progress.map(|progress| Status {
            reference: reference.into(),
            offset: progress.offset,
            total: progress.total,
            expected: record.expected,
            started_at: record.started_at,
            updated_at: progress.updated_at,
        }))
    }

    /// What all unfinished writes are called below the namespaces.
    fn ingest_names(&self) -> Result<Vec<String>, ContentError> {
        let ingests = self.database.read(|view| view.list_all(&INGESTS))?.into_iter();
        Ok(ingests
            .map(|(namespace, reference, _)| format!("{namespace}/{reference}"))
            .collect())
    }

    fn remove_orphans(&self) -> Result<(), ContentError> {
        self.ingests
            .remove_all_but(self.ingests.folders()?, &self.ingest_names()?)?;
        let known: BTreeSet<String> = {
            let records = self.database.read(|view| view.list_all(&CONTENT))?;
            records.into_iter().map(|(_, digest, _)| digest).collect()
        };
        for digest in self
            .blobs
            .all()?
            .into_iter()
            .filter(|digest| !known.contains(digest.as_str()))
        {
            tracing::info!(%digest, "removing a blob that no namespace knows");
            self.blobs.remove(&digest)?;
        }
        Ok(())
    }
}

impl RefLock {
    fn take(shared: &Arc<Shared>, name: &str, reference: &str) -> Result<Self, ContentError> {
        let mut locked = shared.locked.lock().unwrap_or_else(PoisonError::into_inner);
        if !locked.insert(name.to_owned()) {
            return Err(ContentError::Locked(reference.into()));
        }
        Ok(Self {
            shared: shared.clone(),
            name: name.into(),
        })
    }
}

fn is_known(view: &impl Records, digest: &Digest) -> Result<bool, StoreError> {
    Ok(view
        .list_all(&CONTENT)?
        .iter()
        .any(|(_, known, _)| known == digest.as_str()))
}

#[cfg(test)]
mod tests;
