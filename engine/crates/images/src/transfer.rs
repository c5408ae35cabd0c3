//! Running a Transfer with its progress stream.

use std::time::Duration;

use davit_containerd_api::{
    any,
    services::transfer::v1::{TransferOptions, TransferRequest},
    types::{self, transfer},
};
use prost::{Message, Name};
use tonic::Status;

use crate::{Platform, store::Store, stream::Channel};

/// How long progress that is still under way may take after its transfer has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Who hears of a transfer's progress. Not an async closure: the compiler cannot show that the future of one is `Send`, and callers
/// spawn pulls and loads.
pub(crate) trait Listener: Send {
    /// Takes an event.
    fn hear(&mut self, event: transfer::Progress) -> impl Future<Output = ()> + Send;
}

/// Runs it to its end and hands every progress event to `listener`. Dropping the future cancels the transfer.
pub(crate) async fn run<S, D>(
    store: &Store,
    source: &S,
    destination: &D,
    listener: &mut impl Listener,
) -> Result<(), Status>
where
    S: Message + Name,
    D: Message + Name,
{
    let mut events = Channel::open(store, "progress").await?;
    let request = TransferRequest {
        source: Some(any::pack(source)),
        destination: Some(any::pack(destination)),
        options: Some(TransferOptions {
            progress_stream: events.name.clone(),
        }),
    };
    let mut client = store.transfer();
    let mut transfer = std::pin::pin!(client.transfer(request));
    let outcome = loop {
        tokio::select! {
            biased;
            Some(event) = events.receive() => listener.hear(event).await,
            outcome = &mut transfer => break outcome,
        }
    };
    let rest = async {
        while let Some(event) = events.receive().await {
            listener.hear(event).await;
        }
    };
    if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
        tracing::debug!("a progress stream outlived its transfer");
    }
    outcome.map(|_| ())
}

/// A platform on the wire.
pub(crate) fn platform(platform: &Platform) -> types::Platform {
    types::Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        ..Default::default()
    }
}

/// Unpack this platform with this snapshotter.
pub(crate) fn unpack(for_platform: &Platform, snapshotter: &str) -> transfer::UnpackConfiguration {
    transfer::UnpackConfiguration {
        platform: Some(platform(for_platform)),
        snapshotter: snapshotter.into(),
    }
}
