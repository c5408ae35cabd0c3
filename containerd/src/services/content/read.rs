//! Reading a blob or a range of it.

use davit_containerd_api::services::content::v1::{ReadContentRequest, ReadContentResponse};
use davit_content::{BlobReader, ContentError, ContentStore};
use davit_metadata::Scope;
use futures::stream::BoxStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::services::{
    in_words,
    storage::{digest, failed, run},
};

/// Bytes of one message.
const CHUNK: usize = 1 << 20;
/// Messages that may wait for a slow client.
const AHEAD: usize = 2;

/// Opens the blob, checks the range, and streams it from a thread of its own.
pub(super) async fn stream(
    content: ContentStore,
    scope: Scope,
    request: ReadContentRequest,
) -> Result<BoxStream<'static, Result<ReadContentResponse, Status>>, Status> {
    let digest = digest(&request.digest).map_err(|status| in_words(&request.digest, status))?;
    let reader = run(move || content.reader(&scope, &digest)).await?;
    let (from, to) = range(&request, reader.size())?;
    let (sender, receiver) = channel(AHEAD);
    tokio::task::spawn_blocking(move || send(&reader, from, to, &sender));
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// The first byte, and the one after the last. A range that begins before the first byte begins with it, and one that goes
/// beyond the last byte ends with it.
fn range(request: &ReadContentRequest, size: u64) -> Result<(u64, u64), Status> {
    let from = u64::try_from(request.offset).unwrap_or_default();
    if from > size {
        return Err(failed(ContentError::ReadOffset { size }));
    }
    // No size, or a negative one, asks for the rest.
    let length = u64::try_from(request.size)
        .ok()
        .filter(|length| *length > 0)
        .unwrap_or(size - from);
    Ok((from, from.saturating_add(length).min(size)))
}

fn send(reader: &BlobReader, from: u64, to: u64, sender: &Sender<Result<ReadContentResponse, Status>>) {
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).unwrap_or(CHUNK).min(CHUNK);
        let message = reader
            .read_at(offset, length)
            .map_err(failed)
            .map(|data| ReadContentResponse {
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                data,
            });
        let is_failure = message.is_err();
        offset += length as u64;
        // A client that went away ends the stream.
        if sender.blocking_send(message).is_err() || is_failure {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: i64, size: i64, expected: Option<(u64, u64)>) {
        let request = ReadContentRequest {
            offset,
            size,
            ..ReadContentRequest::default()
        };
        assert_eq!(range(&request, 10).ok(), expected, "{offset}+{size}");
    }

    #[test]
    fn ranges_lie_inside_the_blob() {
        check(0, 0, Some((0, 10)));
        check(3, 4, Some((3, 7)));
        check(10, 0, Some((10, 10)));
        check(11, 0, None);
        check(3, 8, Some((3, 10)));
        check(-1, 1, Some((0, 1)));
        check(3, -1, Some((3, 10)));
        check(1, i64::MAX, Some((1, 10)));
    }
}
