//! `containerd.services.events.v1.Events`.

use std::{borrow::Cow, pin::Pin, sync::Arc};

use davit_containerd_api::{
    services::events::v1::{
        ForwardRequest, PublishRequest, SubscribeRequest,
        events_server::{Events, EventsServer},
    },
    types::Envelope,
};
use davit_metadata::filter::{Fields, Filters, non_empty};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{limited, namespace};
use crate::{
    daemon::Daemon,
    events::{EventBus, InvalidEvent, Subscription, SubscriptionEnd, check_topic},
};

mod fields;

/// Messages that may wait in one subscription's stream, besides those on the bus.
const AHEAD: usize = 16;

struct Service {
    events: EventBus,
    stop: CancellationToken,
}

/// The service.
pub fn service(daemon: &Daemon) -> EventsServer<impl Events> {
    limited!(EventsServer::new(Service {
        events: daemon.events.clone(),
        stop: daemon.stop.clone(),
    }))
}

/// An event as filters see it.
struct Filtered<'a>(&'a Envelope);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "namespace" => non_empty(&self.0.namespace),
            "topic" => non_empty(&self.0.topic),
            "event" => fields::field(self.0.event.as_ref()?, rest).map(Cow::Owned),
            _ => None,
        }
    }
}

fn refused(error: InvalidEvent) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl Events for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Envelope, Status>> + Send>>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<()>, Status> {
        let namespace = namespace(&request)?;
        let request = request.into_inner();
        check_topic(&request.topic).map_err(refused)?;
        self.events.publish_any(&namespace, &request.topic, request.event);
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = request.into_inner().envelope;
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("envelope must be given: invalid argument"))?;
        self.events.check_forwarded(&envelope).map_err(refused)?;
        self.events.forward(envelope);
        Ok(Response::new(()))
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let filters = Filters::parse(&request.into_inner().filters).map_err(|error| {
            Status::invalid_argument(format!(
                "failed parsing subscription filters: {error}: invalid argument"
            ))
        })?;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let passing = pass_on(self.events.subscribe(), filters, sender);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(passing));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Ends when the subscriber goes, or falls too far behind.
async fn pass_on(
    mut subscription: Subscription,
    filters: Filters,
    sender: tokio::sync::mpsc::Sender<Result<Envelope, Status>>,
) {
    loop {
        let next = tokio::select! {
            next = subscription.next() => next,
            () = sender.closed() => return,
        };
        let message = match next {
            Ok(envelope) if filters.matches(&Filtered(&envelope)) => Ok(Arc::unwrap_or_clone(envelope)),
            Ok(_) => continue,
            Err(end @ SubscriptionEnd::TooSlow(_)) => Err(Status::resource_exhausted(end.to_string())),
            Err(end @ SubscriptionEnd::Closed) => Err(Status::unavailable(end.to_string())),
        };
        let is_last = message.is_err();
        if sender.send(message).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use davit_containerd_api::{any, events::TaskExit};

    use super::*;

    #[test]
    fn filters_look_at_namespace_topic_and_into_the_event() {
        let exit = TaskExit {
            container_id: "c1".into(),
            id: "e".into(),
            ..Default::default()
        };
        let envelope = Envelope {
            namespace: "n".into(),
            topic: "/tasks/exit".into(),
            event: Some(any::pack(&exit)),
            ..Default::default()
        };
        for (filter, passes) in [
            ("topic==\"/tasks/exit\"", true),
            ("topic~=^/tasks/,namespace==n", true),
            ("topic==\"/tasks/exit\",event.container_id==c1", true),
            ("event.container_id==c2", false),
            ("event.id==e", true),
            ("event.nonsense", false),
            ("namespace!=n", false),
        ] {
            let filters = Filters::parse(&[filter]).unwrap();
            assert_eq!(filters.matches(&Filtered(&envelope)), passes, "{filter}");
        }
    }
}
