//! The engine's own events: what `docker events` shows. The last 256 are kept for those who ask for the past.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::record::Record;

const KEPT: usize = 256;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of object: `container`, `image`, `network`.
    pub kind: &'static str,
    /// What happened: `start`, `die`, …
    pub action: String,
    /// The object's id.
    pub id: String,
    /// Name, image, labels and what the action adds.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: Timestamp,
}

/// Where events are published and listened to.
#[derive(Debug)]
pub struct Events {
    live: broadcast::Sender<Event>,
    kept: Mutex<VecDeque<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            live: broadcast::channel(1024).0,
            kept: Mutex::default(),
        }
    }
}

impl Events {
    /// Publishes an event of now.
    pub fn publish(&self, kind: &'static str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let event = Event {
            kind,
            action: action.into(),
            id: id.into(),
            attributes,
            at: Timestamp::now(),
        };
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        // Sent under the lock, so that a listener sees each event once: among the kept or live. No listener is fine.
        let _ = self.live.send(event);
    }

    /// Publishes an event of a container, with Docker's attributes and some of the action's own.
    pub fn container(&self, record: &Record, action: &str, own: &[(&str, String)]) {
        let mut attributes = record.config.labels.clone();
        attributes.insert("image".into(), record.config.image.clone());
        attributes.insert("name".into(), record.name.clone());
        attributes.extend(own.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        self.publish("container", action, &record.id, attributes);
    }

    /// What is kept from `since` on, and what comes from now on.
    pub fn listen(&self, since: Option<Timestamp>) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let kept = self.kept();
        let past = since.map(|since| kept.iter().filter(|event| event.at >= since).cloned().collect());
        (past.unwrap_or_default(), self.live.subscribe())
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.live.receiver_count()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_bounded_and_a_listener_sees_each_event_once() {
        let events = Events::default();
        for number in 0..300 {
            events.publish("container", "start", &number.to_string(), BTreeMap::new());
        }
        let (past, mut live) = events.listen(Some(Timestamp::UNIX_EPOCH));
        assert_eq!((past.len(), past[0].id.as_str()), (KEPT, "44"));
        assert!(live.try_recv().is_err());
        events.publish("container", "die", "x", BTreeMap::new());
        assert_eq!(live.try_recv().unwrap().action, "die");
        assert!(events.listen(None).0.is_empty());
    }
}
