//! The task that takes records from a queue.

use std::{collections::VecDeque, io, sync::Arc};

use tokio::{
    sync::watch,
    task::{self, AbortHandle},
};

use crate::{
    file::FileLog,
    queue::{Queue, UnderWay},
    record::Record,
};

/// Records on their way. Dropped, they go no further.
#[derive(Debug)]
pub struct Delivery {
    queue: Arc<Queue>,
    task: AbortHandle,
    /// Its sender goes with the task.
    ended: watch::Receiver<()>,
}

impl Delivery {
    /// Starts a task that takes records until the queue ends.
    pub(crate) fn start(queue: Arc<Queue>, taking: impl Future<Output = ()> + Send + 'static) -> Self {
        let (guard, ended) = watch::channel(());
        let task = tokio::spawn(async move {
            let _guard = guard;
            taking.await;
        });
        Self {
            queue,
            task: task.abort_handle(),
            ended,
        }
    }

    /// Returns when the log takes more. In non-blocking mode it always does.
    pub async fn room(&self) {
        self.queue.room().await;
    }

    /// Returns when all records have been taken: no more will come. It may take as long as the peer does.
    pub async fn finish(&self) {
        self.queue.close();
        // It never sends: an error is the end.
        let _ = self.ended.clone().changed().await;
    }

    /// Whether it can be broken off so that another goes on: `None`, not now; `Some(false)`, but a record would be sent again.
    pub fn is_quiet(&self) -> Option<bool> {
        match self.queue.under_way() {
            UnderWay::Nothing => Some(true),
            UnderWay::Repeatable => Some(false),
            UnderWay::Unrepeatable => None,
        }
    }

    /// Gives up what has not been taken.
    pub fn abort(&self) {
        self.task.abort();
        let records = self.queue.give_up();
        if records > 0 {
            tracing::warn!(
                records,
                "log records are lost: whoever takes them did not do so in time"
            );
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Writes records into a file, on a thread that may wait for the disk.
pub(crate) async fn write_file(queue: Arc<Queue>, mut log: FileLog) {
    let mut reported = false;
    while let Some(records) = queue.all().await {
        let writing = task::spawn_blocking(move || {
            let outcome = write(&mut log, &records);
            (log, outcome)
        });
        let outcome;
        (log, outcome) = match writing.await {
            Ok(written) => written,
            Err(error) => return tracing::error!(%error, "the log is written no further"),
        };
        match outcome {
            Ok(()) => reported = false,
            Err(error) if !reported => {
                reported = true;
                tracing::warn!(%error, "log records are lost");
            }
            Err(_) => {}
        }
        // Nothing is on its way now. Who waits for that has its turn, however much there is to write.
        queue.done();
        task::yield_now().await;
    }
}

fn write(log: &mut FileLog, records: &VecDeque<Record<'static>>) -> io::Result<()> {
    let mut batch = log.batch();
    records.iter().for_each(|record| batch.push(record));
    batch.finish()
}
