//! The manager's ttrpc server, on which a shim forwards its events.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use davit_shim_api::forward::{
    event::Envelope,
    events::ForwardRequest,
    events_ttrpc::{Events, create_events},
};
use protobuf::{Message, well_known_types::empty::Empty};
use ttrpc::asynchronous::{Server, TtrpcContext};

/// The events that have come, in their order.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Envelope>>>);

impl Seen {
    /// All of them.
    pub fn all(&self) -> Vec<Envelope> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bodies of those of a topic.
    pub fn of<M: Message>(&self, topic: &str) -> Vec<M> {
        let all = self.all();
        let bodies = all.iter().filter(|event: &&Envelope| event.topic == topic);
        bodies
            .map(|event| M::parse_from_bytes(&event.event.value).expect("the event's message"))
            .collect()
    }
}

#[async_trait]
impl Events for Seen {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(request.envelope.into_option());
        Ok(Empty::new())
    }
}

/// Takes events on this socket.
pub async fn serve(socket: &Path, seen: Seen) -> Server {
    // One that was there before leaves its socket.
    let _ = fs::remove_file(socket);
    let address = format!("unix://{}", socket.display());
    let mut server = Server::new()
        .bind(&address)
        .expect("a socket")
        .register_service(create_events(Arc::new(seen)));
    server.start().await.expect("a server");
    server
}
