//! A subscription that goes on from a cursor: first what is journalled, then what comes, without a gap and without a double.

use std::{collections::VecDeque, fmt, str::FromStr, sync::Arc};

use davit_containerd_api::types::Envelope;
use davit_journal::{Epoch, Journal, JournalError, OutOfRange};

use crate::{
    events::{Subscription, SubscriptionEnd},
    recorder::{Recorder, numbered},
    services::blocking,
};

/// How far a subscriber has come: `<epoch>:<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The life of the journal.
    pub epoch: Epoch,
    /// The last event that was seen in it; 0 before the first.
    pub sequence: u64,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes: `now`.
    Now,
    /// After this.
    After(Cursor),
}

/// A text that names no beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor {0:?}: expected <epoch>:<sequence> or now")]
pub struct InvalidStart(String);

/// Why a subscription cannot go on from a cursor.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// What follows the cursor is not held. Whoever gets this has to look for itself what has become of its tasks.
    #[error("cannot resume after {cursor}: {reason}")]
    OutOfRange {
        /// The cursor.
        cursor: Cursor,
        /// Why.
        reason: String,
        /// The oldest cursor after which all is held.
        oldest: Cursor,
    },
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(JournalError),
    /// The daemon shuts down.
    #[error(transparent)]
    End(#[from] SubscriptionEnd),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.sequence)
    }
}

impl FromStr for Start {
    type Err = InvalidStart;

    fn from_str(text: &str) -> Result<Self, InvalidStart> {
        let invalid = || InvalidStart(text.chars().take(200).collect());
        if text == "now" {
            return Ok(Self::Now);
        }
        let (epoch, sequence) = text.split_once(':').ok_or_else(invalid)?;
        // `parse` would take a sign, too.
        if !sequence.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        Ok(Self::After(Cursor {
            epoch: epoch.parse().map_err(|_| invalid())?,
            sequence: sequence.parse().map_err(|_| invalid())?,
        }))
    }
}

/// The subscription.
///
/// It is on the bus before the journal is read for the first time: what is journalled after the last reading is yet to come
/// from the bus, and what comes from there with a number that was seen is left out.
pub struct Resumed {
    journal: Journal,
    live: Subscription,
    seen: u64,
    /// What was read from the journal.
    page: VecDeque<(u64, Vec<u8>)>,
    /// Whether the journal may hold more than was read from it.
    is_behind: bool,
}

impl Recorder {
    /// Subscribes from a cursor on. Also returns the cursor before the first event to come.
    pub fn resume(&self, start: Start) -> Result<(Resumed, Cursor), ResumeError> {
        let live = self.bus.subscribe_from_now();
        let (epoch, (oldest, last)) = (self.journal.epoch(), self.journal.span());
        let cursor = match start {
            Start::After(cursor) => cursor,
            Start::Now => Cursor { epoch, sequence: last },
        };
        if cursor.epoch != epoch {
            return Err(ResumeError::OutOfRange {
                cursor,
                reason: format!("the journal began anew, its oldest event is {oldest} of epoch {epoch}"),
                oldest: before(epoch, oldest),
            });
        }
        let after = cursor.sequence;
        if after > last {
            return Err(out_of_range(epoch, oldest, OutOfRange::Ahead { after, last }));
        }
        if after + 1 < oldest {
            return Err(out_of_range(epoch, oldest, OutOfRange::TooOld { after, oldest }));
        }
        let resumed = Resumed {
            journal: self.journal.clone(),
            live,
            seen: after,
            page: VecDeque::new(),
            is_behind: after < last,
        };
        Ok((resumed, cursor))
    }
}

impl Resumed {
    /// The next event. Those of tasks have a number.
    ///
    /// Who falls behind the bus goes on from the journal; what is not journalled is lost to it.
    pub async fn next(&mut self) -> Result<Arc<Envelope>, ResumeError> {
        loop {
            if let Some((sequence, bytes)) = self.page.pop_front() {
                self.seen = sequence;
                if let Some(envelope) = numbered(sequence, &bytes) {
                    return Ok(Arc::new(envelope));
                }
                continue;
            }
            if self.is_behind {
                self.page = self.read().await?;
                self.is_behind = !self.page.is_empty();
                continue;
            }
            match self.live.next().await {
                Ok(envelope) if envelope.sequence == 0 => return Ok(envelope),
                Ok(envelope) if envelope.sequence > self.seen => {
                    self.seen = envelope.sequence;
                    return Ok(envelope);
                }
                Ok(_) => {}
                Err(SubscriptionEnd::TooSlow(lost)) => {
                    tracing::info!(lost, after = self.seen, "slow subscriber goes on from the journal");
                    self.is_behind = true;
                }
                Err(end) => return Err(end.into()),
            }
        }
    }

    async fn read(&self) -> Result<VecDeque<(u64, Vec<u8>)>, ResumeError> {
        let (journal, seen) = (self.journal.clone(), self.seen);
        let page = blocking(move || journal.read(seen)).await;
        page.map(VecDeque::from).map_err(|error| match error {
            JournalError::OutOfRange(reason) => out_of_range(self.journal.epoch(), self.journal.span().0, reason),
            error => ResumeError::Journal(error),
        })
    }
}

fn out_of_range(epoch: Epoch, oldest: u64, reason: OutOfRange) -> ResumeError {
    let (OutOfRange::TooOld { after, .. } | OutOfRange::Ahead { after, .. }) = reason;
    ResumeError::OutOfRange {
        cursor: Cursor { epoch, sequence: after },
        reason: reason.to_string(),
        oldest: before(epoch, oldest),
    }
}

fn before(epoch: Epoch, oldest: u64) -> Cursor {
    Cursor {
        epoch,
        sequence: oldest.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests;
