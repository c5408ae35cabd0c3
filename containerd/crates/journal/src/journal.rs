use std::{fmt, path::Path, str::FromStr, sync::Arc, thread};

use tokio::sync::{mpsc, oneshot};

use crate::{
    JournalError,
    store::Store,
    writer::{Request, Writer},
};

/// Entries that may wait for the writer; whoever brings more waits, too.
const QUEUE: usize = 1024;

/// What is to be stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// By this the same entry is known when it comes again.
    pub identity: u128,
    /// What is told and read again.
    pub bytes: Vec<u8>,
}

/// How much is held at least, if it has come; at most an eighth more, and what was written at once (1 MiB and an entry, however large
/// that is). The oldest goes first.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all entries together.
    pub bytes: u64,
}

/// One life of the sequence. Numbers of different epochs have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(pub(crate) u128);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 lower-case hexadecimal digits")]
pub struct InvalidEpoch;

impl FromStr for Epoch {
    type Err = InvalidEpoch;

    fn from_str(text: &str) -> Result<Self, InvalidEpoch> {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(InvalidEpoch);
        }
        u128::from_str_radix(text, 16).map(Self).map_err(|_| InvalidEpoch)
    }
}

/// Numbered entries, in order.
pub type Page = Vec<(u64, Vec<u8>)>;

/// The open journal, cheap to clone. It is written by a thread of its own, which ends with the last clone.
#[derive(Clone)]
pub struct Journal {
    store: Arc<Store>,
    queue: mpsc::Sender<Request>,
}

impl Journal {
    /// Opens the journal in the folder `path`, making it where there is none. Blocks on the disk. No other process may have it
    /// open.
    ///
    /// A damaged one is put aside as `path` with the ending `damaged`, and a new epoch begins: who comes with a cursor is told,
    /// which is better than a daemon that does not start. One of another version is refused and left as it is.
    ///
    /// `tell` hears of every entry once it is stored, in order, on the writer's thread; and of one that an earlier run has stored
    /// when it is appended again for the first time, since nobody knows whether that run lived to tell it.
    pub fn open(
        path: &Path,
        limits: Limits,
        tell: impl FnMut(u64, &[u8]) + Send + 'static,
    ) -> Result<Self, JournalError> {
        let store = Arc::new(Store::open(path, limits)?);
        let (queue, requests) = mpsc::channel(QUEUE);
        let writer = Writer::new(store.clone(), tell);
        thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(requests))
            .map_err(|source| JournalError::Open {
                path: path.into(),
                source,
            })?;
        Ok(Self { store, queue })
    }

    /// The life of the sequence that this file holds.
    pub fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    /// Returns once the entry is stored and told; or was before.
    ///
    /// Goes on even if the caller does not wait, once it is in the writer's queue; while that is full the entry is the caller's.
    pub async fn append(&self, entry: Entry) -> Result<(), JournalError> {
        let (done, outcome) = oneshot::channel();
        let ended = |_| JournalError::NotStored("the journal's writer has ended".into());
        self.queue.send(Request { entry, done }).await.map_err(|_| ended(()))?;
        outcome.await.map_err(|_| ended(()))?.map_err(JournalError::NotStored)
    }

    /// The next entries after this number: some of them, or none where it is the last. Blocks on the disk.
    pub fn read(&self, after: u64) -> Result<Page, JournalError> {
        self.store.read(after)
    }

    /// The number of the oldest entry held, where there is none of the one to come; and of the last, 0 before the first.
    pub fn span(&self) -> (u64, u64) {
        self.store.span()
    }
}

#[cfg(test)]
mod tests;
