//! Records on their way to somebody who may be slow.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    options::{InvalidOption, Options, Units, size},
    record::Record,
    seldom::Seldom,
    state::RecordState,
};

/// What a record costs beside its line, roughly: an empty line costs memory, too.
const OVERHEAD: usize = 96;

/// Docker's `mode` and `max-buffer-size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Who writes waits.
    Blocking,
    /// What does not fit is dropped.
    NonBlocking {
        /// How many bytes may wait.
        buffer: usize,
    },
}

impl Mode {
    /// How many bytes wait in blocking mode before the container does: what one read takes.
    const WAITING: usize = 64 << 10;

    /// Docker's default of `max-buffer-size`.
    const BUFFER: usize = 1_000_000;

    /// Reads the options.
    pub fn from_options(options: &mut Options) -> Result<Self, InvalidOption> {
        let blocking = options.parsed("mode", "blocking or non-blocking", |mode| match mode {
            "blocking" => Some(true),
            "non-blocking" => Some(false),
            _ => None,
        })?;
        let name = "max-buffer-size";
        let buffer = options.parsed(name, "a number of bytes, with k, m or g for units", |text| {
            usize::try_from(size(text, Units::Binary)?).ok()
        })?;
        match (blocking, buffer) {
            (Some(false), buffer) => Ok(Self::NonBlocking {
                buffer: buffer.unwrap_or(Self::BUFFER),
            }),
            (_, None) => Ok(Self::Blocking),
            (_, Some(_)) => Err(InvalidOption::Needs {
                name,
                other: "mode=non-blocking",
            }),
        }
    }

    /// The mode of a driver that has a buffer of its own in any mode.
    pub fn buffering(self, own: usize) -> Self {
        match self {
            Self::Blocking => Self::NonBlocking { buffer: own },
            Self::NonBlocking { buffer } => Self::NonBlocking {
                buffer: buffer.max(own),
            },
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Blocking => Self::WAITING,
            Self::NonBlocking { buffer } => buffer,
        }
    }
}

/// What a queue's task is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnderWay {
    /// It waits for records.
    Nothing,
    /// It delivers a record that is still in the queue.
    Repeatable,
    /// It delivers records that are in its hands alone.
    Unrepeatable,
}

/// Records that wait. One side pushes, a task takes.
#[derive(Debug)]
pub(crate) struct Queue {
    mode: Mode,
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record<'static>>,
    bytes: usize,
    /// No more records come.
    closed: bool,
    /// How many were taken out last and are not known to be done.
    on_their_way: usize,
    /// The first is being delivered.
    is_shown: bool,
    dropping: Seldom,
}

impl Queue {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Adds a record or, in non-blocking mode, drops it if it does not fit, as Docker does: the newest goes.
    pub fn push(&self, record: Record<'_>) {
        let cost = cost(&record);
        let mut state = self.state();
        let fits = state.bytes + cost <= self.mode.limit() || state.bytes == 0;
        if !fits && self.mode != Mode::Blocking {
            return state.report_dropping();
        }
        state.bytes += cost;
        state.records.push_back(record.into_owned());
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns when more may be pushed.
    pub async fn room(&self) {
        if self.mode == Mode::Blocking {
            self.until(|state| state.bytes < Mode::WAITING).await;
        }
    }

    /// All that waits, as soon as there is something; `None` at the end.
    pub async fn all(&self) -> Option<VecDeque<Record<'static>>> {
        self.come().await;
        let mut state = self.state();
        let records = std::mem::take(&mut state.records);
        state.bytes = 0;
        state.on_their_way = records.len();
        drop(state);
        self.changed.notify_waiters();
        (!records.is_empty()).then_some(records)
    }

    /// Shows the oldest record, as soon as there is one; `None` at the end. It stays in the queue until the next is asked for.
    pub async fn show<T>(&self, look: impl FnOnce(&Record<'static>) -> T) -> Option<T> {
        self.come().await;
        let mut state = self.state();
        let shown = look(state.records.front()?);
        state.bytes -= state.records.front().map_or(0, cost);
        state.is_shown = true;
        drop(state);
        self.changed.notify_waiters();
        Some(shown)
    }

    /// What was taken or shown before is done.
    pub fn done(&self) {
        self.state().done();
    }

    /// Returns when there is a record, or the end. What was taken or shown before is done.
    async fn come(&self) {
        self.done();
        self.until(|state| !state.records.is_empty() || state.closed).await;
    }

    /// Drops all records: how many those are, with the ones that were taken last and may not have arrived.
    pub fn give_up(&self) -> usize {
        let mut state = self.state();
        state.bytes = 0;
        state.is_shown = false;
        std::mem::take(&mut state.records).len() + std::mem::take(&mut state.on_their_way)
    }

    /// What is under way: records on a thread that writes them, or one with its peer.
    pub fn under_way(&self) -> UnderWay {
        let state = self.state();
        match (state.on_their_way, state.is_shown) {
            (0, false) => UnderWay::Nothing,
            (0, true) => UnderWay::Repeatable,
            _ => UnderWay::Unrepeatable,
        }
    }

    /// Puts what waited elsewhere before all else, whatever the limit.
    pub fn refill(&self, records: Vec<RecordState>) {
        let mut state = self.state();
        state.records = records.into_iter().map(RecordState::into_record).collect();
        state.bytes = state.records.iter().map(cost).sum();
    }

    /// All that waits, and what is with a peer.
    pub fn waiting(&self) -> Vec<RecordState> {
        self.state().records.iter().map(RecordState::of).collect()
    }

    /// No more records will come.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            // Made before the look at the state, so that no change falls between.
            let changed = self.changed.notified();
            if condition(&self.state()) {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn done(&mut self) {
        self.on_their_way = 0;
        if std::mem::take(&mut self.is_shown) {
            self.records.pop_front();
            if self.records.is_empty() {
                // Nothing is kept for a container that says nothing.
                self.records = VecDeque::new();
            }
        }
    }

    fn report_dropping(&mut self) {
        if self.dropping.now() {
            tracing::warn!("log records are dropped: whoever takes them is slow, and the buffer is full");
        }
    }
}

fn cost(record: &Record<'_>) -> usize {
    record.line.len() + OVERHEAD
}

#[cfg(test)]
mod tests;
