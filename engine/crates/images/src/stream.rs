//! containerd's Streaming service: named streams of messages that a Transfer refers to.
//!
//! The first message names the stream and the server acknowledges it with an empty one. Binary data flows in chunks
//! against a window that the receiver opens.

use std::io;

use bytes::{Buf, Bytes};
use davit_containerd_api::{
    any,
    services::streaming::v1::StreamInit,
    types::transfer::{Data, WindowUpdate},
};
use futures::{Stream, StreamExt};
use prost::{Message, Name};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{ImageError, store::Store, unique};

/// The largest chunk that containerd's own clients send.
const LARGEST_CHUNK: usize = 32 << 10;

/// One stream, open in both directions.
pub(crate) struct Channel {
    /// The name that a transfer knows it by.
    pub name: String,
    outgoing: mpsc::Sender<Any>,
    incoming: Streaming<Any>,
}

impl Channel {
    pub(crate) async fn open(store: &Store, purpose: &str) -> Result<Self, Status> {
        let name = format!("{purpose}-{}", unique::name());
        let (outgoing, receiver) = mpsc::channel(4);
        let init = any::pack(&StreamInit { id: name.clone() });
        outgoing.send(init).await.expect("the receiver is on this stack");
        let mut incoming = store
            .streaming()
            .stream(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let acknowledged = incoming.message().await?;
        acknowledged.ok_or_else(|| Status::aborted("the stream was not acknowledged"))?;
        Ok(Self {
            name,
            outgoing,
            incoming,
        })
    }

    /// The next message of this kind; others are passed over. `None` at the end, however it came: what the stream
    /// served is told by the transfer itself.
    pub(crate) async fn receive<M: Message + Name + Default>(&mut self) -> Option<M> {
        loop {
            let message = self.incoming.message().await.ok()??;
            if let Some(Ok(message)) = any::unpack(&message) {
                return Some(message);
            }
        }
    }

    /// `false` where the other side is gone.
    pub(crate) async fn send<M: Message + Name>(&self, message: &M) -> bool {
        self.outgoing.send(any::pack(message)).await.is_ok()
    }

    /// Sends all bytes as the window allows, then ends the stream. Ends early, without an error, where the other side
    /// wants no more.
    pub(crate) async fn send_all(mut self, bytes: impl Stream<Item = io::Result<Bytes>>) -> crate::Result<()> {
        let mut bytes = std::pin::pin!(bytes);
        let mut window: usize = 0;
        while let Some(chunk) = bytes.next().await {
            let mut chunk = chunk.map_err(ImageError::Archive)?;
            while chunk.has_remaining() {
                if window == 0 {
                    let Some(WindowUpdate { update }) = self.receive().await else {
                        return Ok(());
                    };
                    window += usize::try_from(update).unwrap_or(0);
                    continue;
                }
                let length = chunk.len().min(window).min(LARGEST_CHUNK);
                window -= length;
                let data = Data {
                    data: chunk.split_to(length).into(),
                };
                if !self.send(&data).await {
                    return Ok(());
                }
            }
        }
        // The end has to arrive as an end: a stream that is dropped before the other side closes it is cancelled, and
        // what it still carries with it.
        let Self {
            outgoing, mut incoming, ..
        } = self;
        drop(outgoing);
        while let Ok(Some(_)) = incoming.message().await {}
        Ok(())
    }
}
