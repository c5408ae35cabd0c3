//! Events on their way to the manager.
//!
//! They are sent one after the other, so their order is kept, and each is kept until the manager has taken it. While the manager
//! is away the queue grows: by what happens without it, which is exits and OOM kills. An event may arrive twice, if the manager
//! dies between taking it and saying so; ours knows it again. Should the shim die, what waits is in the bundle ([`crate::untold`]).

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use davit_luggage::Bytes;
use davit_shim_api::{
    Packed,
    forward::{event::Envelope, events::ForwardRequest, events_ttrpc::EventsClient},
    pack,
    task_events::task::TaskOOM,
};
use protobuf::Message;
use tokio::{net::UnixStream, sync::Notify, time};
use tracing::{debug, warn};
use ttrpc::{
    Code,
    asynchronous::{Client, transport::Socket},
    context,
};

use crate::{convert, untold};

/// The topic of OOM kills.
pub const OOM: &str = "/tasks/oom";

/// The topic of the last event of a container.
const DELETE: &str = "/tasks/delete";

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The queue of events.
#[derive(Debug)]
pub struct Outbox {
    namespace: String,
    /// Path of the manager's ttrpc socket.
    address: Option<String>,
    queue: Mutex<VecDeque<Envelope>>,
    sending: AtomicBool,
    /// The bundles of the containers that events tell of.
    bundles: Mutex<HashMap<String, PathBuf>>,
    added: Notify,
    emptied: Notify,
}

impl Outbox {
    /// An empty queue towards `address`, which may begin with `unix://`. Without one, events are dropped.
    pub fn new(namespace: &str, address: Option<String>) -> Self {
        let address = address.filter(|address| !address.is_empty());
        Self {
            namespace: namespace.to_owned(),
            address: address.map(|address| address.trim_start_matches("unix://").to_owned()),
            queue: Mutex::default(),
            sending: AtomicBool::new(false),
            bundles: Mutex::default(),
            added: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// From now on what is told of a container is kept in its bundle until the manager has taken it.
    pub fn keep_in(&self, container: &str, bundle: &Path) {
        lock(&self.bundles).insert(container.to_owned(), bundle.to_owned());
    }

    fn bundle_of(&self, envelope: &Envelope) -> Option<PathBuf> {
        lock(&self.bundles).get(&container_of(envelope)?).cloned()
    }

    fn keep(&self, envelope: &Envelope) {
        let kept = self.bundle_of(envelope).map(|bundle| untold::keep(&bundle, envelope));
        if let Some(Err(error)) = kept {
            warn!(%error, topic = envelope.topic, "an event is lost should this shim die now");
        }
    }

    fn is_told(&self, envelope: &Envelope) {
        if let Some(bundle) = self.bundle_of(envelope) {
            untold::is_told(&bundle, envelope);
        }
        if envelope.topic == DELETE
            && let Some(container) = container_of(envelope)
        {
            lock(&self.bundles).remove(&container);
        }
    }

    /// Sends what a dead shim owes, and returns whether all of it was taken within this time.
    pub async fn send_for_another(&self, envelopes: Vec<Envelope>, limit: Duration) -> bool {
        self.queue().extend(envelopes);
        let sending = async {
            tokio::select! {
                () = self.run() => {}
                () = self.flushed() => {}
            }
        };
        time::timeout(limit, sending).await.is_ok()
    }

    /// Queues an event.
    pub fn publish<M: Packed>(&self, topic: &str, event: &M) {
        if self.address.is_none() {
            return;
        }
        let envelope = envelope(&self.namespace, topic, event);
        let mut queue = self.queue();
        // The first may be on its way. A second OOM kill behind one that waits says nothing new, and a container that is killed
        // over and over while the manager is away must not fill the shim.
        let says_nothing_new = topic == OOM && queue.iter().skip(1).any(|waiting| waiting.event == envelope.event);
        if !says_nothing_new {
            self.keep(&envelope);
            queue.push_back(envelope);
            self.added.notify_one();
        }
    }

    /// Whether an event is with the manager, who may have taken it.
    pub fn is_busy(&self) -> bool {
        self.sending.load(Ordering::Relaxed)
    }

    /// The events that the manager has not taken, for another program of ours.
    pub fn pack(&self) -> Vec<Bytes> {
        let bytes = |envelope: &Envelope| Bytes(bytes_of(envelope));
        self.queue().iter().map(bytes).collect()
    }

    /// Goes on with the events of another program of ours.
    pub fn refill(&self, events: Vec<Bytes>) -> protobuf::Result<()> {
        let events = events.iter().map(|event| Envelope::parse_from_bytes(&event.0));
        *self.queue() = events.collect::<protobuf::Result<_>>()?;
        Ok(())
    }

    /// Sends events until the program ends.
    pub async fn run(&self) {
        let Some(address) = &self.address else {
            warn!("no manager's address: events are dropped");
            return;
        };
        let mut client = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(envelope) = self.first() else {
                self.emptied.notify_waiters();
                self.added.notified().await;
                continue;
            };
            self.sending.store(true, Ordering::Relaxed);
            let sent = send(&mut client, address, envelope).await;
            self.sending.store(false, Ordering::Relaxed);
            match sent {
                Ok(()) => {
                    davit_fail_point::reach("shim.events.sent");
                    self.taken();
                    pause = FIRST_PAUSE;
                }
                Err(error) if is_refusal(&error) => {
                    let lost = self.taken();
                    let topic = lost.map(|envelope| envelope.topic).unwrap_or_default();
                    warn!(%error, topic, "the manager refuses an event");
                }
                Err(error) => {
                    debug!(%error, "the manager did not take an event");
                    client = None;
                    time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Returns when all events are sent.
    pub async fn flushed(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.address.is_none() || self.queue().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// The first is told, or will never be.
    fn taken(&self) -> Option<Envelope> {
        let taken = self.queue().pop_front()?;
        self.is_told(&taken);
        Some(taken)
    }

    fn first(&self) -> Option<Envelope> {
        self.queue().front().cloned()
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Envelope>> {
        lock(&self.queue)
    }
}

fn bytes_of<M: Message>(message: &M) -> Vec<u8> {
    message
        .write_to_bytes()
        .expect("a message without required fields serializes")
}

/// An event of this moment.
pub fn envelope<M: Packed>(namespace: &str, topic: &str, event: &M) -> Envelope {
    Envelope {
        timestamp: Some(convert::timestamp(jiff::Timestamp::now())).into(),
        namespace: namespace.to_owned(),
        topic: topic.to_owned(),
        event: Some(pack(event)).into(),
        ..Default::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The container that an event of tasks tells of: the first field of all of them, and the only one of this.
fn container_of(envelope: &Envelope) -> Option<String> {
    let event = TaskOOM::parse_from_bytes(&envelope.event.as_ref()?.value);
    event.ok().map(|event| event.container_id)
}

/// An answer that says the same however often one asks.
fn is_refusal(error: &ttrpc::Error) -> bool {
    let ttrpc::Error::RpcStatus(status) = error else {
        return false;
    };
    matches!(
        status.code(),
        Code::INVALID_ARGUMENT | Code::UNIMPLEMENTED | Code::PERMISSION_DENIED | Code::OUT_OF_RANGE
    )
}

async fn send(client: &mut Option<EventsClient>, address: &str, envelope: Envelope) -> ttrpc::Result<()> {
    let events = match client {
        Some(events) => events,
        None => client.insert(connect(address).await?),
    };
    let namespace = envelope.namespace.clone();
    let request = ForwardRequest {
        envelope: Some(envelope).into(),
        ..Default::default()
    };
    let mut context = context::with_duration(CALL_TIMEOUT);
    context.add("containerd-namespace-ttrpc".into(), namespace);
    events.forward(context, &request).await.map(drop)
}

async fn connect(address: &str) -> ttrpc::Result<EventsClient> {
    let stream = UnixStream::connect(address)
        .await
        .map_err(|error| ttrpc::Error::Socket(error.to_string()))?;
    Ok(EventsClient::new(Client::new(Socket::from(stream))))
}

#[cfg(test)]
mod tests {
    use davit_shim_api::task_events::task::{TaskExit, TaskOOM};

    use super::*;

    fn oom(container: &str) -> TaskOOM {
        TaskOOM {
            container_id: container.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_waits_keeps_its_order_and_repeated_oom_kills_do_not_pile_up() {
        let outbox = Outbox::new("ns", Some("unix:///nowhere".into()));
        for _ in 0..5 {
            outbox.publish(OOM, &oom("a"));
            outbox.publish(OOM, &oom("b"));
        }
        outbox.publish("/tasks/exit", &TaskExit::new());
        outbox.publish("/tasks/exit", &TaskExit::new());
        let topics: Vec<String> = outbox.queue().iter().map(|envelope| envelope.topic.clone()).collect();
        assert_eq!(topics, [OOM, OOM, OOM, "/tasks/exit", "/tasks/exit"]);
    }

    #[test]
    fn without_an_address_nothing_is_kept() {
        let outbox = Outbox::new("ns", Some(String::new()));
        outbox.publish(OOM, &oom("a"));
        assert!(outbox.queue().is_empty());
    }
}
