//! A client of the events service that resumes from a cursor.

use std::{path::Path, time::Duration};

use davit_containerd_api::{
    any,
    events::TaskExit,
    services::events::v1::{ForwardRequest, SubscribeRequest, events_client::EventsClient},
    types::Envelope,
};
use tokio::time;
use tonic::{Request, Status, Streaming, metadata::MetadataMap, transport::Channel};

use super::channel;

/// The header with the cursor.
const AFTER: &str = "davit-events-after";
/// How long an event that must come may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it takes to believe that none comes.
const SILENCE: Duration = Duration::from_millis(300);

/// The end of a task's first process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    pub container: String,
    pub status: u32,
    /// Seconds since 1970.
    pub at: i64,
}

/// A subscription.
pub struct Subscriber {
    stream: Streaming<Envelope>,
    epoch: String,
    /// The last event seen, or the one before the first to come.
    pub seen: u64,
}

impl Subscriber {
    /// Subscribes after a cursor, or from now on.
    pub async fn after(socket: &Path, cursor: &str) -> Result<Self, Status> {
        let mut request = Request::new(SubscribeRequest::default());
        let value = cursor.parse().expect("a header");
        request.metadata_mut().insert(AFTER, value);
        let answer = client(socket).await.subscribe(request).await?;
        let begin = cursor_in(answer.metadata()).expect("an answer to a cursor has one");
        let (epoch, seen) = begin.split_once(':').expect("a cursor");
        Ok(Self {
            epoch: epoch.to_owned(),
            seen: seen.parse().expect("a number"),
            stream: answer.into_inner(),
        })
    }

    /// By this another one goes on where this one is.
    pub fn cursor(&self) -> String {
        format!("{}:{}", self.epoch, self.seen)
    }

    /// The next event of a task, which must come.
    pub async fn next(&mut self) -> Envelope {
        self.next_within(PATIENCE).await.expect("an event in time")
    }

    async fn next_within(&mut self, patience: Duration) -> Option<Envelope> {
        loop {
            let message = time::timeout(patience, self.stream.message()).await.ok()?;
            let envelope = message.expect("the stream goes on").expect("the stream goes on");
            if envelope.topic.starts_with("/tasks/") {
                assert!(
                    envelope.sequence > self.seen,
                    "{} after {}",
                    envelope.sequence,
                    self.seen
                );
                self.seen = envelope.sequence;
                return Some(envelope);
            }
            assert_eq!(envelope.sequence, 0, "{envelope:?}");
        }
    }

    /// The next so many ends.
    pub async fn exits(&mut self, count: usize) -> Vec<Exit> {
        let mut exits = Vec::new();
        while exits.len() < count {
            exits.extend(exit(&self.next().await));
        }
        exits
    }

    /// The events of tasks up to this number, which must come, and those after it, until it is silent: that is no proof that there
    /// is none, but finds one that is told without a need.
    pub async fn rest(&mut self, last: u64) -> Vec<Envelope> {
        let mut rest = Vec::new();
        while self.seen < last {
            rest.push(self.next().await);
        }
        while let Some(envelope) = self.next_within(SILENCE).await {
            rest.push(envelope);
        }
        rest
    }

    /// The events of a container until so many have come, which must, and those after them until it is silent.
    pub async fn events_of(&mut self, container: &str, count: usize) -> Vec<Envelope> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(Some(self.next().await).filter(|envelope| is_of(envelope, container)));
        }
        let after = self.rest(self.seen).await;
        events.extend(after.into_iter().filter(|envelope| is_of(envelope, container)));
        events
    }
}

/// Whether the event is of this container.
pub fn is_of(envelope: &Envelope, container: &str) -> bool {
    let event = envelope.event.as_ref().expect("an event");
    let mut windows = event.value.windows(container.len());
    windows.any(|window| window == container.as_bytes())
}

/// The cursor in a header.
pub fn cursor_in(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(AFTER)?.to_str().ok()
}

/// The end that this tells.
pub fn exit(envelope: &Envelope) -> Option<Exit> {
    let exit: TaskExit = any::unpack(envelope.event.as_ref()?)?.ok()?;
    Some(Exit {
        container: exit.container_id,
        status: exit.exit_status,
        at: exit.exited_at?.seconds,
    })
}

/// Subscribes as containerd's clients do.
pub async fn plain(socket: &Path) -> (MetadataMap, Streaming<Envelope>) {
    let answer = client(socket).await.subscribe(SubscribeRequest::default()).await;
    let answer = answer.expect("a subscription");
    (answer.metadata().clone(), answer.into_inner())
}

/// Sends an event as another process has stamped it.
pub async fn forward(socket: &Path, envelope: Envelope) {
    let request = ForwardRequest {
        envelope: Some(envelope),
    };
    client(socket).await.forward(request).await.expect("it is taken");
}

async fn client(socket: &Path) -> EventsClient<Channel> {
    EventsClient::new(channel::to(socket).await)
}
