use std::{
    io::{self, Write},
    sync::Arc,
    time::SystemTime,
};

use davit_metadata::{Labels, Scope};
use davit_vocabulary::{Algorithm, Digest};
use sha2::Digest as _;

use crate::{ContentError, Status, error::file, ingest::IngestFile, store::Shared};

/// An open write of a blob. It alone may write under its ref; dropped uncommitted, it can be opened again and resumed.
pub struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) scope: Scope,
    pub(crate) reference: String,
    pub(crate) expected: Option<Digest>,
    pub(crate) started_at: SystemTime,
    /// When the last byte came.
    pub(crate) updated_at: SystemTime,
    pub(crate) source: Source,
    pub(crate) _lock: RefLock,
}

/// A writer for what writes to a stream.
pub struct Sink(pub Writer);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where the bytes are.
pub(crate) enum Source {
    /// In an unfinished write.
    File(IngestFile),
    /// In a blob of another namespace: nothing has to be written.
    Blob { digest: Digest, size: u64 },
}

impl Writer {
    /// How far the write is.
    pub fn status(&self) -> Status {
        let (offset, total) = match &self.source {
            Source::File(ingest) => (ingest.offset, ingest.total),
            Source::Blob { size, .. } => (*size, *size),
        };
        Status {
            reference: self.reference.clone(),
            offset,
            total,
            expected: self.expected.clone(),
            started_at: self.started_at,
            updated_at: self.updated_at,
        }
    }

    /// The bytes written so far.
    pub fn offset(&self) -> u64 {
        match &self.source {
            Source::File(ingest) => ingest.offset,
            Source::Blob { size, .. } => *size,
        }
    }

    /// Sets the length that the client promises now.
    pub fn set_total(&mut self, total: u64) {
        if let Source::File(ingest) = &mut self.source {
            ingest.total = total;
        }
    }

    /// The digest of what was written so far.
    pub fn digest(&self) -> Digest {
        match &self.source {
            Source::File(ingest) => Digest::sha256(ingest.hasher.clone().finalize().into()),
            Source::Blob { digest, .. } => digest.clone(),
        }
    }

    /// Makes sure that the next byte goes to `offset`: it must be the end, or 0, which forgets what was written.
    pub fn seek(&mut self, offset: u64) -> Result<(), ContentError> {
        let current = self.offset();
        if offset == current {
            return Ok(());
        }
        if offset != 0 {
            return Err(ContentError::Offset { asked: offset, current });
        }
        let name = self.shared.ingest_name(&self.scope, &self.reference);
        match &mut self.source {
            Source::File(ingest) => ingest.truncate().map_err(file("truncate", &ingest.folder)),
            Source::Blob { .. } => {
                let (ingest, _) = self.shared.begin_ingest(&self.scope, &self.reference, &name, None, 0)?;
                self.source = Source::File(ingest);
                Ok(())
            }
        }
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ContentError> {
        if !bytes.is_empty() {
            self.updated_at = SystemTime::now();
        }
        match &mut self.source {
            Source::File(ingest) => {
                ingest.data.write_all(bytes).map_err(file("write", &ingest.folder))?;
                // The kernel's clock for files is some milliseconds behind the one that clients read.
                let marked = ingest.data.set_modified(self.updated_at);
                marked.map_err(file("write", &ingest.folder))?;
                ingest.hasher.update(bytes);
                ingest.offset += bytes.len() as u64;
                Ok(())
            }
            Source::Blob { .. } if bytes.is_empty() => Ok(()),
            Source::Blob { size, .. } => Err(ContentError::Offset {
                asked: *size,
                current: *size,
            }),
        }
    }

    /// Verifies the bytes against what was promised, makes them a blob and gives it to the namespace.
    ///
    /// A failed check leaves the write as it is, so that the client can abort or continue it.
    pub fn commit(self, size: Option<u64>, expected: Option<&Digest>, labels: Labels) -> Result<Digest, ContentError> {
        davit_metadata::check_labels("info", &labels)?;
        self.verify(size, expected)?;
        let digest = self.digest();
        let size = self.offset();
        if let Source::File(ingest) = &self.source {
            ingest.data.sync_all().map_err(file("sync", &ingest.folder))?;
        }
        self.shared.publish(&self, &digest, size, labels)?;
        Ok(digest)
    }

    fn verify(&self, size: Option<u64>, expected: Option<&Digest>) -> Result<(), ContentError> {
        let found = self.offset();
        if let Some(expected) = size.filter(|size| *size != found) {
            let name = self.status().reference;
            return Err(ContentError::Size { name, found, expected });
        }
        let found = self.digest();
        for expected in [expected, self.expected.as_ref()].into_iter().flatten() {
            if expected.algorithm() != Algorithm::Sha256 {
                return Err(ContentError::Algorithm(expected.clone()));
            }
            if *expected != found {
                return Err(ContentError::Digest {
                    found,
                    expected: expected.clone(),
                });
            }
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Source::File(ingest) = &self.source
            && ingest.folder.exists()
        {
            ingest.note_update();
        }
    }
}

/// Holds a ref for one writer.
pub(crate) struct RefLock {
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
}

impl Drop for RefLock {
    fn drop(&mut self) {
        self.shared.unlock(&self.name);
    }
}
