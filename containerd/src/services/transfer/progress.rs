//! Progress for the client's table.

use davit_containerd_api::{
    any,
    types::{Descriptor as WireDescriptor, transfer::Progress as WireProgress},
};
use davit_images::{Progress, Reporter};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

use crate::services::streaming::ClientStream;

/// The task that tells a client of progress.
pub(super) struct Telling {
    task: JoinHandle<()>,
}

/// A reporter whose reports go to the client, in order, without holding up the transfer.
pub(super) fn reporter(stream: ClientStream) -> (Reporter, Telling) {
    let (sender, receiver) = unbounded_channel();
    let task = tokio::spawn(tell(receiver, stream));
    let reporter = Reporter::new(move |progress| {
        // A client that went away hears nothing more, and the transfer's own call tells of that.
        let _ = sender.send(progress);
    });
    (reporter, Telling { task })
}

impl Telling {
    /// Waits until everything was told. The transfer must have dropped its reporters.
    pub(super) async fn finish(self) {
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "progress was not told to the end");
        }
    }
}

/// Holds the client's side open until the transfer ends, and then drops it, which ends the stream.
async fn tell(mut receiver: UnboundedReceiver<Progress>, stream: ClientStream) {
    while let Some(progress) = receiver.recv().await {
        let message = any::pack(&wire(progress));
        if stream.outgoing.send(Ok(message)).await.is_err() {
            return;
        }
    }
}

fn wire(progress: Progress) -> WireProgress {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    WireProgress {
        event: progress.event,
        name: progress.name,
        parents: progress.parents,
        progress: number(progress.progress),
        total: number(progress.total),
        desc: progress.descriptor.map(|descriptor| WireDescriptor {
            media_type: descriptor.media_type,
            digest: descriptor.digest.to_string(),
            size: number(descriptor.size),
            annotations: descriptor.annotations.into_iter().collect(),
        }),
    }
}
