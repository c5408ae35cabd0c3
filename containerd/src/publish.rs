//! `davit-containerd publish`: the way in which shims before ttrpc publish an event, named to them by `-publish-binary`.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use davit_containerd_api::services::events::v1::{PublishRequest, events_client::EventsClient};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tonic::{
    Request,
    transport::{Channel, Endpoint, Uri},
};

use crate::services::NAMESPACE_HEADER;

/// Publishes the event on standard input, a `google.protobuf.Any` in binary form.
pub async fn run(address: &Path, namespace: &str, topic: &str) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    io::stdin()
        .read_to_end(&mut bytes)
        .context("read event from standard input")?;
    let event = prost_types::Any::decode(bytes.as_slice()).context("event on standard input")?;
    let mut request = Request::new(PublishRequest {
        topic: topic.into(),
        event: Some(event),
    });
    let namespace = namespace.parse().with_context(|| format!("namespace {namespace:?}"))?;
    request.metadata_mut().insert(NAMESPACE_HEADER, namespace);
    let channel = connect(address.into())
        .await
        .with_context(|| format!("connect to {}", address.display()))?;
    EventsClient::new(channel)
        .publish(request)
        .await
        .context("publish event")?;
    Ok(())
}

/// The URI is not used, but tonic wants one.
async fn connect(address: PathBuf) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let address = address.clone();
        async move { UnixStream::connect(address).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
}
