//! What a client still sends after its upload was refused, or after the end of what was wanted of it.

use std::{io, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};

/// How long a client may go on sending what nobody wants.
const LONGEST: Duration = Duration::from_secs(10);

/// Reads the rest and forgets it. A client that finds the connection closed while it sends never reads the answer that
/// says why: it reports a broken pipe instead.
pub(crate) async fn drain(mut upload: Pin<&mut (impl Stream<Item = io::Result<Bytes>> + Send)>) {
    let rest = async { while let Some(Ok(_)) = upload.next().await {} };
    let _ = tokio::time::timeout(LONGEST, rest).await;
}
