//! `containerd.services.streaming.v1.Streaming`: streams that a client opens for a call it is about to make.
//!
//! A stream waits under its id until a transfer takes it. Dropping [`ClientStream`] ends it well.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use davit_containerd_api::{
    any,
    services::streaming::v1::{
        StreamInit,
        streaming_server::{Streaming as StreamingService, StreamingServer},
    },
};
use davit_vocabulary::Namespace;
use futures::stream::BoxStream;
use prost_types::Any;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{limited, namespace};

/// Messages that may wait for a slow client.
const AHEAD: usize = 16;

/// The type of the first answer on a stream.
const EMPTY: &str = "google.protobuf.Empty";

/// Streams that wait to be taken. Clones share them.
#[derive(Clone, Default)]
pub struct Streams {
    waiting: Arc<Mutex<HashMap<(Namespace, String), ClientStream>>>,
}

/// Both directions of a stream.
pub struct ClientStream {
    /// From the client.
    pub incoming: Streaming<Any>,
    /// To the client.
    pub outgoing: Sender<Result<Any, Status>>,
}

struct Service {
    streams: Streams,
}

/// The service.
pub fn service(streams: Streams) -> StreamingServer<impl StreamingService> {
    limited!(StreamingServer::new(Service { streams }))
}

impl Streams {
    /// Takes the stream of this id.
    pub(super) fn take(&self, namespace: &Namespace, id: &str) -> Result<ClientStream, Status> {
        let taken = self.lock().remove(&(namespace.clone(), id.to_owned()));
        taken.ok_or_else(|| Status::not_found(format!("stream {id:?}: not found")))
    }

    fn put(&self, namespace: Namespace, id: String, stream: ClientStream) -> Result<(), Status> {
        let mut waiting = self.lock();
        // Clients that went away before their call was made have left theirs behind.
        waiting.retain(|_, stream| !stream.outgoing.is_closed());
        let key = (namespace, id);
        if waiting.contains_key(&key) {
            return Err(Status::already_exists(format!("stream {:?}: already exists", key.1)));
        }
        waiting.insert(key, stream);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Namespace, String), ClientStream>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl StreamingService for Service {
    type StreamStream = BoxStream<'static, Result<Any, Status>>;

    async fn stream(&self, request: Request<Streaming<Any>>) -> Result<Response<Self::StreamStream>, Status> {
        let namespace = namespace(&request)?;
        let mut incoming = request.into_inner();
        let refusal = || Status::invalid_argument("first message must be a StreamInit: invalid argument");
        let first = incoming.message().await?.ok_or_else(refusal)?;
        let init: StreamInit = any::unpack(&first).and_then(Result::ok).ok_or_else(refusal)?;
        if init.id.is_empty() {
            return Err(Status::invalid_argument(
                "stream id must not be empty: invalid argument",
            ));
        }
        let (outgoing, receiver) = channel(AHEAD);
        let registered = Any {
            type_url: EMPTY.into(),
            value: Vec::new(),
        };
        // The channel is empty and open, so this cannot fail.
        let _ = outgoing.try_send(Ok(registered));
        self.streams
            .put(namespace, init.id, ClientStream { incoming, outgoing })?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
