//! The one thread that writes.

use std::{collections::HashSet, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use crate::{
    Entry,
    store::{Appended, Store},
};

/// Entries that share one sync at most,
const BATCH_ENTRIES: usize = 1024;
/// and the bytes of theirs after which no more are taken.
const BATCH_BYTES: usize = 1 << 20;

/// An entry on its way, and where to answer.
pub(crate) struct Request {
    pub(crate) entry: Entry,
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

pub(crate) struct Writer<T> {
    store: Arc<Store>,
    tell: T,
    /// The last number that an earlier run has given.
    earlier: u64,
    /// Entries of an earlier run that came again in this one, and were told.
    again: HashSet<u64>,
    /// Whether the last write failed: it is said once, however many follow.
    failing: bool,
}

impl<T: FnMut(u64, &[u8])> Writer<T> {
    pub(crate) fn new(store: Arc<Store>, tell: T) -> Self {
        let (_, earlier) = store.span();
        Self {
            store,
            tell,
            earlier,
            again: HashSet::new(),
            failing: false,
        }
    }

    /// Takes what has arrived, writes it, and only then looks for more: the longer a sync takes, the more share the next.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = first.entry.bytes.len();
            let mut batch = vec![first];
            while batch.len() < BATCH_ENTRIES
                && bytes < BATCH_BYTES
                && let Ok(next) = requests.try_recv()
            {
                bytes += next.entry.bytes.len();
                batch.push(next);
            }
            self.write(batch);
        }
    }

    fn write(&mut self, batch: Vec<Request>) {
        let (entries, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|request| (request.entry, request.done)).unzip();
        let outcome = self.store.append(&entries).map_err(|error| error.to_string());
        self.note(outcome.as_ref().err());
        for (appended, entry) in outcome.iter().flatten().zip(&entries) {
            self.tell(*appended, &entry.bytes);
        }
        for done in waiting {
            // Who asked may have gone.
            let _ = done.send(outcome.as_ref().map(drop).map_err(Clone::clone));
        }
    }

    fn tell(&mut self, appended: Appended, bytes: &[u8]) {
        match appended {
            Appended::New(sequence) => (self.tell)(sequence, bytes),
            Appended::Held(sequence) if sequence <= self.earlier && self.again.insert(sequence) => {
                (self.tell)(sequence, bytes);
            }
            Appended::Held(_) => {}
        }
    }

    fn note(&mut self, error: Option<&String>) {
        match error {
            Some(error) if !self.failing => tracing::error!(%error, "events cannot be journalled"),
            None if self.failing => tracing::info!("events are journalled again"),
            _ => {}
        }
        self.failing = error.is_some();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::Limits;

    #[test]
    fn entries_that_wait_together_share_one_sync_and_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits {
            entries: 1000,
            bytes: 1 << 20,
        };
        let store = Arc::new(Store::open(&folder.path().join("events"), limits).unwrap());
        let (queue, requests) = mpsc::channel(500);
        let mut answers = Vec::new();
        for identity in 0..500 {
            let (done, answer) = oneshot::channel();
            let bytes = vec![];
            let entry = Entry { identity, bytes };
            queue.try_send(Request { entry, done }).unwrap();
            answers.push(answer);
        }
        drop(queue);
        // What is stored by the time that an entry is told.
        let told = Arc::new(Mutex::new(Vec::new()));
        let (seen, tellers) = (store.clone(), told.clone());
        let tell = move |sequence, _: &[u8]| tellers.lock().unwrap().push((sequence, seen.span().1));
        Writer::new(store, tell).run(requests);
        let expected: Vec<_> = (1..=500).map(|sequence| (sequence, 500)).collect();
        assert_eq!(*told.lock().unwrap(), expected);
        for mut answer in answers {
            assert_eq!(answer.try_recv(), Ok(Ok(())));
        }
    }
}
