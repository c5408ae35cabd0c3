//! The ttrpc socket on which shims forward their events.
//!
//! An event is acknowledged once it is journalled and on the bus. A shim of ours keeps it until then, so that none is lost
//! while this daemon is away.

use std::{io, sync::Arc};

use davit_containerd_api::{
    any,
    events::{TaskCreate, TaskDelete},
    types::Envelope,
};
use davit_shim_api::forward::{
    events::ForwardRequest,
    events_ttrpc::{Events, create_events},
};
use davit_tasks::Tasks;
use davit_vocabulary::ErrorKind;
use prost::{Message, Name};
use protobuf::well_known_types::empty::Empty;
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::StreamExt as _;
use ttrpc::{
    r#async::{Server, TtrpcContext},
    asynchronous::transport::Listener,
};

use crate::{events::check_forwarded, recorder::Recorder};

struct Forwarding {
    recorder: Recorder,
    tasks: Arc<Tasks>,
}

/// Serves on `listener` until the server that is returned is shut down.
pub async fn serve(listener: UnixListener, recorder: Recorder, tasks: Arc<Tasks>) -> ttrpc::Result<Server> {
    let service = create_events(Arc::new(Forwarding { recorder, tasks }));
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener).filter(is_ours);
    let mut server = Server::new()
        .add_listener(Listener::new(incoming))
        .register_service(service);
    server.start().await?;
    Ok(server)
}

/// Whether a peer is of our own user, as containerd asks of it whoever may open the socket: what is told here is believed.
fn is_ours(incoming: &io::Result<UnixStream>) -> bool {
    let Ok(stream) = incoming else { return true };
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == geteuid().as_raw() => true,
        Ok(peer) => {
            tracing::warn!(
                uid = peer.uid(),
                pid = peer.pid(),
                "a peer of another user may not tell events"
            );
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a peer that is not known may not tell events");
            false
        }
    }
}

#[async_trait::async_trait]
impl Events for Forwarding {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        let envelope = envelope(request).ok_or_else(|| refusal(ErrorKind::InvalidArgument, "no envelope"))?;
        check_forwarded(&envelope).map_err(|error| refusal(ErrorKind::InvalidArgument, error))?;
        let (created, deleted) = (told::<TaskCreate>(&envelope), told::<TaskDelete>(&envelope));
        let namespace = envelope.namespace.parse();
        let recorded = self.recorder.forward(envelope).await;
        recorded.map_err(|error| refusal(error.kind(), error))?;
        let Ok(namespace) = namespace else {
            return Ok(Empty::new());
        };
        if let Some(task) = created {
            self.tasks.creation_is_told(&namespace, &task.container_id);
        }
        if let Some(task) = deleted {
            self.tasks.removal_is_told(&namespace, &task.container_id);
        }
        Ok(Empty::new())
    }
}

/// What this tells, if it is of this kind.
fn told<M: Message + Name + Default>(envelope: &Envelope) -> Option<M> {
    any::unpack(envelope.event.as_ref()?)?.ok()
}

fn envelope(request: ForwardRequest) -> Option<Envelope> {
    let envelope = request.envelope.into_option()?;
    Some(Envelope {
        timestamp: envelope.timestamp.into_option().map(|at| prost_types::Timestamp {
            seconds: at.seconds,
            nanos: at.nanos,
        }),
        namespace: envelope.namespace,
        topic: envelope.topic,
        event: envelope.event.into_option().map(|event| prost_types::Any {
            type_url: event.type_url,
            value: event.value,
        }),
        sequence: 0,
    })
}

fn refusal(kind: ErrorKind, reason: impl ToString) -> ttrpc::Error {
    let mut status = ttrpc::Status::new();
    status.code = protobuf::EnumOrUnknown::from_i32(kind.ttrpc_code());
    status.message = reason.to_string();
    ttrpc::Error::RpcStatus(status)
}
