//! The way of task events: into the journal, and from there onto the bus.
//!
//! What tells of tasks, and of the ends of sandboxes, is on disk before it is acknowledged and before any subscriber sees it, so that a subscriber that was
//! away can ask for it. All other events are live only.
//!
//! A shim sends an event again when its acknowledgement is lost. It is then known by its identity, journalled once, and
//! published once in the life of a daemon. In the life of the next it is published once more, since nobody knows whether the daemon
//! that stored it lived to publish it; a subscriber with a cursor knows it by its number.

use std::path::Path;

use davit_containerd_api::{
    any,
    events::{SandboxExit, TaskDelete, TaskExit},
    types::Envelope,
};
use davit_journal::{Entry, Journal, JournalError, Limits};
use prost::Message;
use prost_types::Timestamp;
use sha2::{Digest, Sha256};

use crate::events::{EventBus, is_kept};

/// What a run and its end tell is four events of some 150 bytes each.
const LIMITS: Limits = Limits {
    entries: 100_000,
    bytes: 32 << 20,
};

/// The journal and the bus behind it, cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    pub(crate) bus: EventBus,
    pub(crate) journal: Journal,
}

impl Recorder {
    /// Opens the journal in this folder, before `bus`.
    pub fn open(folder: &Path, bus: EventBus) -> Result<Self, JournalError> {
        let publishing = bus.clone();
        let journal = Journal::open(folder, LIMITS, move |sequence, bytes| {
            davit_fail_point::reach("manager.events.journalled");
            if let Some(envelope) = numbered(sequence, bytes) {
                publishing.forward(envelope);
            }
        })?;
        Ok(Self { bus, journal })
    }

    /// Passes on an event that is stamped, and returns once it is published; that of a task, or a sandbox's end, is journalled by then.
    pub async fn forward(&self, envelope: Envelope) -> Result<(), JournalError> {
        // A number is given here alone.
        let envelope = Envelope {
            sequence: 0,
            ..envelope
        };
        if !is_kept(&envelope.topic) {
            self.bus.forward(envelope);
            return Ok(());
        }
        let entry = Entry {
            identity: identity(&envelope),
            bytes: envelope.encode_to_vec(),
        };
        self.journal.append(entry).await
    }
}

/// An event as it is journalled, with its number.
pub(crate) fn numbered(sequence: u64, bytes: &[u8]) -> Option<Envelope> {
    match Envelope::decode(bytes) {
        Ok(envelope) => Some(Envelope { sequence, ..envelope }),
        Err(error) => {
            tracing::error!(sequence, %error, "journalled event");
            None
        }
    }
}

/// By this an event is known when it comes again: what it says, and when.
///
/// An end says itself when it was. When this daemon tells it in the stead of a shim that has told it already and died since, it
/// is the same end, although it is stamped anew.
fn identity(envelope: &Envelope) -> u128 {
    let event = envelope.event.clone().unwrap_or_default();
    let time = match end(envelope) {
        Some(_) => Vec::new(),
        None => envelope.timestamp.unwrap_or_default().encode_to_vec(),
    };
    let mut hash = Sha256::new();
    let parts = [
        envelope.namespace.as_bytes(),
        envelope.topic.as_bytes(),
        event.type_url.as_bytes(),
        &event.value,
        &time,
    ];
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().expect("a half of it");
    u128::from_le_bytes(*first)
}

/// When the end was that this event tells, if it tells one.
fn end(envelope: &Envelope) -> Option<Timestamp> {
    let event = envelope.event.as_ref()?;
    let exit = || Some(any::unpack::<TaskExit>(event)?.ok()?.exited_at);
    let delete = || Some(any::unpack::<TaskDelete>(event)?.ok()?.exited_at);
    let sandbox = || Some(any::unpack::<SandboxExit>(event)?.ok()?.exited_at);
    let at = exit().or_else(delete).or_else(sandbox)?;
    // The zero time of Go, long before 1970, stands for no time at all.
    at.filter(|at| at.seconds >= 0)
}

#[cfg(test)]
mod tests {
    use davit_containerd_api::events::TaskOom;

    use super::*;

    const GO_ZERO: Option<i64> = Some(-62_135_596_800);

    fn exit(pid: u32, at: Option<i64>, stamped: i64) -> Envelope {
        let exit = TaskExit {
            container_id: "c".into(),
            id: "c".into(),
            pid,
            exit_status: 0,
            exited_at: at.map(|seconds| Timestamp { seconds, nanos: 5 }),
        };
        Envelope {
            timestamp: Some(Timestamp {
                seconds: stamped,
                nanos: 0,
            }),
            namespace: "n".into(),
            topic: "/tasks/exit".into(),
            event: Some(any::pack(&exit)),
            sequence: 0,
        }
    }

    fn oom(container_id: &str, stamped: i64) -> Envelope {
        let oom = TaskOom {
            container_id: container_id.into(),
        };
        Envelope {
            topic: "/tasks/oom".into(),
            event: Some(any::pack(&oom)),
            ..exit(0, None, stamped)
        }
    }

    #[test]
    fn an_event_is_the_same_that_says_the_same_of_the_same_moment() {
        let elsewhere = Envelope {
            namespace: "m".into(),
            ..exit(1, Some(7), 8)
        };
        for (one, other, are_same) in [
            (exit(1, Some(7), 8), exit(1, Some(7), 8), true),
            (exit(1, Some(7), 8), exit(1, Some(7), 9), true),
            (exit(1, Some(7), 8), exit(2, Some(7), 8), false),
            (exit(1, Some(7), 8), exit(1, Some(8), 8), false),
            (exit(1, Some(7), 8), elsewhere, false),
            (exit(1, None, 8), exit(1, None, 9), false),
            (exit(1, GO_ZERO, 8), exit(1, GO_ZERO, 9), false),
            (oom("c", 8), oom("c", 8), true),
            (oom("c", 8), oom("c", 9), false),
            (oom("c", 8), oom("d", 8), false),
        ] {
            assert_eq!(identity(&one) == identity(&other), are_same, "{one:?} {other:?}");
        }
    }

    #[tokio::test]
    async fn an_event_that_is_forwarded_twice_is_published_once_and_has_a_number_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::open(&folder.path().join("events"), EventBus::new()).unwrap();
        let mut subscription = recorder.bus.subscribe_from_now();
        let forged = Envelope {
            sequence: 99,
            ..oom("c", 1)
        };
        for envelope in [forged, oom("c", 1), oom("c", 2)] {
            recorder.forward(envelope).await.unwrap();
        }
        let published = [
            subscription.next().await.unwrap().sequence,
            subscription.next().await.unwrap().sequence,
        ];
        assert_eq!(published, [1, 2]);
        assert_eq!(recorder.journal.span(), (1, 2));
    }
}
