//! What a refused request still has to say.
//!
//! A client that finds the connection closed while it sends never reads the answer that says why: it reports a broken pipe
//! instead. So what a handler left unread is read and forgotten before a refusal goes out. (Go's net/http does the same for dockerd,
//! up to 256 KiB.)

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// How long a client may go on sending what nobody wants.
const LONGEST: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, it goes to [`Rest`].
pub(crate) struct Unread {
    /// `None` only while it is dropped.
    body: Option<Incoming>,
    rest: Option<oneshot::Sender<Incoming>>,
}

/// Where the unread part of a body turns up.
pub(crate) struct Rest(oneshot::Receiver<Incoming>);

/// The body for the handler, and what it will leave.
pub(crate) fn watch(body: Incoming) -> (Unread, Rest) {
    let (sender, receiver) = oneshot::channel();
    let unread = Unread {
        body: Some(body),
        rest: Some(sender),
    };
    (unread, Rest(receiver))
}

impl Rest {
    /// Reads the rest, where the handler is through with the body and left some.
    pub(crate) async fn forget(mut self) {
        let Ok(mut body) = self.0.try_recv() else { return };
        let read = async { while let Some(Ok(_)) = std::future::poll_fn(|context| poll(&mut body, context)).await {} };
        let _ = tokio::time::timeout(LONGEST, read).await;
    }
}

fn poll(body: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    Pin::new(body).poll_frame(context)
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| poll(body, context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let (Some(body), Some(rest)) = (self.body.take(), self.rest.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it where the answer is on its way already.
            let _ = rest.send(body);
        }
    }
}
