//! Records on their way to somebody who may be slow.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    options::{InvalidOption, Options, Units, size},
    record::Record,
};

/// What a record costs beside its line, roughly: an empty line costs memory, too.
const OVERHEAD: usize = 96;

/// How often dropping is reported at most.
const REPORTED: Duration = Duration::from_secs(60);

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
    /// When dropping was reported last.
    reported: Option<Instant>,
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
        let fits = state.bytes + cost <= self.mode.limit() || state.records.is_empty();
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
        self.until(|state| !state.records.is_empty() || state.closed).await;
        let mut state = self.state();
        let records = std::mem::take(&mut state.records);
        state.bytes = 0;
        drop(state);
        self.changed.notify_waiters();
        (!records.is_empty()).then_some(records)
    }

    /// The oldest record, as soon as there is one; `None` at the end.
    pub async fn next(&self) -> Option<Record<'static>> {
        self.until(|state| !state.records.is_empty() || state.closed).await;
        let mut state = self.state();
        let record = state.records.pop_front()?;
        state.bytes -= cost(&record);
        if state.records.is_empty() {
            // Nothing is kept for a container that says nothing.
            state.records = VecDeque::new();
        }
        drop(state);
        self.changed.notify_waiters();
        Some(record)
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
    fn report_dropping(&mut self) {
        if self.reported.is_none_or(|last| last.elapsed() > REPORTED) {
            self.reported = Some(Instant::now());
            tracing::warn!("log records are dropped: whoever takes them is slow, and the buffer is full");
        }
    }
}

fn cost(record: &Record<'_>) -> usize {
    record.line.len() + OVERHEAD
}

#[cfg(test)]
mod tests;
