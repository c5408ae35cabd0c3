//! `containerd.services.events.v1.Events`.
//!
//! A subscriber that sends the header [`AFTER_HEADER`] resumes: it gets the task events that were journalled after its cursor,
//! then all events as they come. The answer has the same header, with the cursor before the first event; an event of a task has
//! its number in the field `sequence` of its envelope. A cursor is the epoch of that header, a colon, and a number. Whoever has none
//! yet sends `now`. A cursor whose events are not held any more is refused with OUT_OF_RANGE, and the header says then which
//! is the oldest that is not.

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
use tonic::{
    Request, Response, Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use super::{in_words, limited, namespace, status};
use crate::{
    daemon::Daemon,
    events::{EventBus, InvalidEvent, Subscription, SubscriptionEnd, check_forwarded, check_topic, stamped},
    recorder::Recorder,
    resume::{Cursor, ResumeError, Resumed, Start},
};

mod fields;

/// Messages that may wait in one subscription's stream, besides those on the bus.
const AHEAD: usize = 16;

/// The header with the cursor after which a subscription goes on.
const AFTER_HEADER: &str = "davit-events-after";

struct Service {
    events: EventBus,
    recorder: Recorder,
    stop: CancellationToken,
}

/// The service.
pub fn service(daemon: &Daemon) -> EventsServer<impl Events> {
    limited!(EventsServer::new(Service {
        events: daemon.events.clone(),
        recorder: daemon.recorder.clone(),
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
        let namespace = namespace(&request).map_err(|status| in_words("failed publishing event", status))?;
        let request = request.into_inner();
        check_topic(&request.topic).map_err(refused)?;
        self.record(stamped(&namespace, &request.topic, request.event)).await
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = request.into_inner().envelope;
        let envelope = envelope.ok_or_else(|| Status::invalid_argument("envelope must be given: invalid argument"))?;
        check_forwarded(&envelope).map_err(refused)?;
        self.record(envelope).await
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        let start = start(request.metadata())?;
        let filters = Filters::parse(&request.into_inner().filters).map_err(|error| {
            Status::invalid_argument(format!(
                "subscription error: failed parsing subscription filters: {error}"
            ))
        })?;
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let mut response: Response<Self::SubscribeStream> = Response::new(Box::pin(ReceiverStream::new(receiver)));
        let source = match start {
            None => Source::Live(self.events.subscribe()),
            Some(start) => {
                let (resumed, cursor) = self.recorder.resume(start).map_err(not_resumed)?;
                response.metadata_mut().insert(AFTER_HEADER, header(cursor));
                Source::Resumed(resumed)
            }
        };
        tokio::spawn(
            self.stop
                .clone()
                .run_until_cancelled_owned(pass_on(source, filters, sender)),
        );
        Ok(response)
    }
}

impl Service {
    async fn record(&self, envelope: Envelope) -> Result<Response<()>, Status> {
        let recorded = self.recorder.forward(envelope).await;
        recorded.map(Response::new).map_err(|error| status(error.kind(), error))
    }
}

/// Where a subscription is to begin, if the client says so.
fn start(metadata: &MetadataMap) -> Result<Option<Start>, Status> {
    let Some(value) = metadata.get(AFTER_HEADER) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    text.parse()
        .map(Some)
        .map_err(|error| Status::invalid_argument(format!("{AFTER_HEADER}: {error}: invalid argument")))
}

fn header(cursor: Cursor) -> AsciiMetadataValue {
    cursor.to_string().parse().expect("a cursor is ASCII")
}

fn not_resumed(error: ResumeError) -> Status {
    let text = error.to_string();
    match error {
        ResumeError::OutOfRange { oldest, .. } => {
            let mut status = Status::out_of_range(text);
            status.metadata_mut().insert(AFTER_HEADER, header(oldest));
            status
        }
        ResumeError::Journal(error) => status(error.kind(), text),
        ResumeError::End(_) => Status::unavailable(text),
    }
}

/// Where a subscriber's events come from.
enum Source {
    Live(Subscription),
    Resumed(Resumed),
}

impl Source {
    async fn next(&mut self) -> Result<Envelope, Status> {
        let subscription = match self {
            Self::Resumed(resumed) => return resumed.next().await.map(Arc::unwrap_or_clone).map_err(not_resumed),
            Self::Live(subscription) => subscription,
        };
        match subscription.next().await {
            // Who sent no cursor gets what containerd would send, and no byte more.
            Ok(envelope) => Ok(Envelope {
                sequence: 0,
                ..Arc::unwrap_or_clone(envelope)
            }),
            Err(end @ SubscriptionEnd::TooSlow(_)) => Err(Status::resource_exhausted(end.to_string())),
            Err(end @ SubscriptionEnd::Closed) => Err(Status::unavailable(end.to_string())),
        }
    }
}

/// Ends when the subscriber goes, or falls too far behind.
async fn pass_on(mut source: Source, filters: Filters, sender: tokio::sync::mpsc::Sender<Result<Envelope, Status>>) {
    loop {
        let next = tokio::select! {
            next = source.next() => next,
            () = sender.closed() => return,
        };
        if next
            .as_ref()
            .is_ok_and(|envelope| !filters.matches(&Filtered(envelope)))
        {
            continue;
        }
        let is_last = next.is_err();
        if sender.send(next).await.is_err() || is_last {
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
