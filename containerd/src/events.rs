//! The bus that carries events from services and shims to subscribers.
//!
//! Publishing never waits: each subscriber reads at its own pace from one bounded ring, and one that falls a whole ring
//! behind is told so and dropped.
//!
//! Nothing is kept here for subscribers that come later; those that know how to ask find task events in the journal
//! ([`resume`](crate::resume)). For those that do not there is one exception: after a start, the shims send at once what happened to
//! their tasks while there was no daemon, and the clients that had subscribed to the one before need a moment to come back.
//! What is told of tasks in these first moments is kept for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use davit_containerd_api::{any, types::Envelope};
use davit_vocabulary::{InvalidIdentifier, Namespace};
use prost::{Message, Name};
use prost_types::Any;
use tokio::sync::broadcast::{self, error::RecvError};

/// How many events a subscriber may be behind.
const CAPACITY: usize = 8192;

/// How long after the start events of tasks are kept for clients that come back. containerd's clients wait for three seconds at
/// most between two attempts to connect.
const FIRST_MOMENTS: Duration = Duration::from_secs(15);

/// The sending side, cheap to clone.
#[derive(Clone, Debug)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Envelope>>,
    /// Locked while an event is sent and while a subscription is made, so that each event reaches a subscriber once.
    kept: Arc<Mutex<Option<Kept>>>,
}

/// The events of tasks since the start; there is none once the first moments are over.
#[derive(Debug)]
struct Kept {
    until: Instant,
    events: Vec<Arc<Envelope>>,
}

/// The receiving side.
#[derive(Debug)]
pub struct Subscription {
    kept: VecDeque<Arc<Envelope>>,
    receiver: broadcast::Receiver<Arc<Envelope>>,
}

/// Why a subscription ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionEnd {
    /// The subscriber was too slow.
    #[error("subscriber is too slow: {0} events are lost to it")]
    TooSlow(u64),
    /// The daemon shuts down.
    #[error("event bus is closed")]
    Closed,
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl EventBus {
    /// A bus without subscribers, at the start of a daemon.
    pub fn new() -> Self {
        Self::keeping_for(FIRST_MOMENTS)
    }

    fn keeping_for(time: Duration) -> Self {
        let (sender, _) = broadcast::channel(CAPACITY);
        let kept = Kept {
            until: Instant::now() + time,
            events: Vec::new(),
        };
        Self {
            sender,
            kept: Arc::new(Mutex::new(Some(kept))),
        }
    }

    /// Publishes an event of this daemon, stamped with the time of now. `topic` is like `/containers/create`; those of tasks go
    /// through the [`Recorder`](crate::recorder::Recorder).
    pub fn publish<M: Message + Name>(&self, namespace: &Namespace, topic: &str, event: &M) {
        self.forward(stamped(namespace, topic, Some(any::pack(event))));
    }

    /// Passes on an event that is stamped.
    pub fn forward(&self, envelope: Envelope) {
        tracing::debug!(namespace = envelope.namespace, topic = envelope.topic, "event");
        let envelope = Arc::new(envelope);
        let mut kept = self.kept();
        if let Some(kept) = kept.as_mut()
            && is_kept(&envelope.topic)
            && kept.events.len() < CAPACITY
        {
            kept.events.push(envelope.clone());
        }
        // An error says that nobody listens, which is no fault.
        let _ = self.sender.send(envelope);
    }

    /// What is kept, or nothing once its time is over.
    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|kept| kept.until <= Instant::now()) {
            *kept = None;
        }
        kept
    }

    /// Events from now on, of all namespaces, and nothing else.
    pub fn subscribe_from_now(&self) -> Subscription {
        Subscription {
            kept: VecDeque::new(),
            receiver: self.sender.subscribe(),
        }
    }

    /// Events from now on, of all namespaces; in the first moments also those of tasks since the start.
    pub fn subscribe(&self) -> Subscription {
        let kept = self.kept();
        Subscription {
            kept: kept
                .as_ref()
                .map(|kept| kept.events.iter().cloned().collect())
                .unwrap_or_default(),
            receiver: self.sender.subscribe(),
        }
    }
}

impl Subscription {
    /// The next event.
    pub async fn next(&mut self) -> Result<Arc<Envelope>, SubscriptionEnd> {
        if let Some(envelope) = self.kept.pop_front() {
            return Ok(envelope);
        }
        self.receiver.recv().await.map_err(|error| match error {
            RecvError::Lagged(lost) => SubscriptionEnd::TooSlow(lost),
            RecvError::Closed => SubscriptionEnd::Closed,
        })
    }
}

/// An event that is not passed on. The words are containerd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Its namespace is none.
    #[error("event envelope has invalid namespace: {0}: invalid argument")]
    Namespace(InvalidIdentifier),
    /// Its topic is none.
    #[error("envelope topic {topic:?}: {reason}: invalid argument")]
    Topic {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// An event with the time of now.
pub fn stamped(namespace: &Namespace, topic: &str, event: Option<Any>) -> Envelope {
    Envelope {
        timestamp: Some(SystemTime::now().into()),
        namespace: namespace.as_str().into(),
        topic: topic.into(),
        event,
        sequence: 0,
    }
}

/// Whether events of this topic are journalled, and kept for who comes back: those that tell of tasks, and of the end of a sandbox.
pub fn is_kept(topic: &str) -> bool {
    topic.starts_with("/tasks/") || topic == "/sandboxes/exit"
}

/// Checks an event that another process has stamped. One without a time is as old as time itself, as for containerd.
pub fn check_forwarded(envelope: &Envelope) -> Result<(), InvalidEvent> {
    envelope
        .namespace
        .parse::<Namespace>()
        .map_err(InvalidEvent::Namespace)?;
    check_topic(&envelope.topic)
}

/// A topic is like a path: identifiers, each after a slash.
pub fn check_topic(topic: &str) -> Result<(), InvalidEvent> {
    let invalid = |reason: &str| InvalidEvent::Topic {
        topic: topic.chars().take(200).collect(),
        reason: reason.into(),
    };
    if topic.is_empty() {
        return Err(invalid("must not be empty"));
    }
    let components = topic.strip_prefix('/').ok_or_else(|| invalid("must start with '/'"))?;
    if components.is_empty() {
        return Err(invalid("must have at least one component"));
    }
    for component in components.split('/') {
        // The rule of a namespace is that of every identifier.
        if let Err(error) = component.parse::<Namespace>() {
            return Err(invalid(&format!(
                "failed validation on component {component:?}: {error}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use davit_containerd_api::events::{NamespaceDelete, TaskStart};

    use super::*;

    fn start(bus: &EventBus, pid: u32) {
        let namespace = "n".parse().unwrap();
        let event = TaskStart {
            container_id: "c".into(),
            pid,
        };
        bus.publish(&namespace, "/tasks/start", &event);
    }

    async fn pid(subscription: &mut Subscription) -> u32 {
        let envelope = subscription.next().await.unwrap();
        let event: TaskStart = any::unpack(envelope.event.as_ref().unwrap()).unwrap().unwrap();
        event.pid
    }

    #[tokio::test]
    async fn in_the_first_moments_a_subscriber_gets_what_was_told_of_tasks_and_all_of_it_once() {
        let bus = EventBus::new();
        start(&bus, 1);
        let namespace = "n".parse().unwrap();
        bus.publish(&namespace, "/namespaces/delete", &NamespaceDelete { name: "n".into() });
        let mut subscription = bus.subscribe();
        start(&bus, 2);
        assert_eq!([pid(&mut subscription).await, pid(&mut subscription).await], [1, 2]);
        let second = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
        assert!(second.is_err(), "nothing is told twice");
    }

    #[tokio::test]
    async fn later_a_subscriber_gets_what_is_published_after_it_came() {
        let bus = EventBus::keeping_for(Duration::ZERO);
        start(&bus, 1);
        let mut subscription = bus.subscribe();
        start(&bus, 2);
        let envelope = subscription.next().await.unwrap();
        assert_eq!(
            (envelope.namespace.as_str(), envelope.topic.as_str()),
            ("n", "/tasks/start")
        );
        let event: TaskStart = any::unpack(envelope.event.as_ref().unwrap()).unwrap().unwrap();
        assert_eq!(event.pid, 2);
    }

    #[test]
    fn a_topic_is_identifiers_after_slashes() {
        for good in ["/tasks/exit", "/a", "/a/b-c/d"] {
            assert_eq!(check_topic(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "tasks", "/tasks/", "//", "/a b", "/../x"] {
            assert!(check_topic(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told_and_publishing_never_waits() {
        let bus = EventBus::new();
        let mut subscription = bus.subscribe();
        for pid in 0..=CAPACITY as u32 {
            start(&bus, pid);
        }
        assert_eq!(subscription.next().await.unwrap_err(), SubscriptionEnd::TooSlow(1));
    }
}
