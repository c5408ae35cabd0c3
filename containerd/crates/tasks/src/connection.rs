//! The connection to a shim's socket.

use std::{
    future::{Future, poll_fn},
    io, iter,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use davit_vocabulary::{ErrorKind, Namespace};
use protobuf::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;
use ttrpc::{r#async::Client, asynchronous::transport::Socket};

use crate::bootstrap::{Endpoint, NEWEST};

/// The ttrpc header that names the namespace of a call.
const NAMESPACE_HEADER: &str = "containerd-namespace-ttrpc";

/// The service of a shim that groups containers.
const SANDBOX_SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// At what intervals a shim that cannot be reached, but is not known to be dead, is called again; the last goes on.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(3),
];

/// The pauses between attempts to reach a shim, without an end.
pub(crate) fn pauses() -> impl Iterator<Item = Duration> {
    PAUSES.into_iter().chain(iter::repeat(PAUSES[PAUSES.len() - 1]))
}

/// Whether a failure to connect says that nobody is behind the socket. Any other may pass: the queue of a shim that hangs is full
/// (EAGAIN), or this daemon has too many open files. To take a live shim for dead is to kill its container.
pub(crate) fn says_death(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// Why a call to a shim failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The shim answered with an error, whose words are passed on.
    #[error("{text}")]
    Refused {
        /// What kind of error.
        kind: ErrorKind,
        /// The shim's words.
        text: String,
    },
    /// The connection broke before an answer came.
    #[error("ttrpc: closed")]
    Closed,
    /// The answer did not come in time.
    #[error("shim did not answer {0} in time: deadline exceeded")]
    Late(&'static str),
    /// Request or answer cannot be coded.
    #[error("{method}: {reason}")]
    Malformed {
        /// The call.
        method: &'static str,
        /// Why.
        reason: String,
    },
}

impl CallError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { kind, .. } => *kind,
            Self::Closed => ErrorKind::Unavailable,
            Self::Late(_) => ErrorKind::DeadlineExceeded,
            Self::Malformed { .. } => ErrorKind::Internal,
        }
    }
}

/// An open connection, cheap to clone. It closes when the last clone is gone.
///
/// The two generations of the task service differ in the service's name alone, so calls of both carry the same messages.
#[derive(Clone)]
pub(crate) struct Connection {
    client: Client,
    namespace: Namespace,
    /// Where the shim is reached; those of a group are reached at the same place.
    pub(crate) address: Arc<str>,
    version: Arc<AtomicU32>,
    closed: CancellationToken,
    /// Held while a request gets its number and its place in the queue.
    order: Arc<Mutex<()>>,
}

impl Connection {
    /// Connects, with the generation that the shim announced.
    pub(crate) async fn open(endpoint: &Endpoint, namespace: &Namespace) -> io::Result<Self> {
        let stream = UnixStream::connect(endpoint.socket()).await?;
        let closed = CancellationToken::new();
        let watched = Watched {
            stream,
            closed: closed.clone(),
        };
        Ok(Self {
            client: Client::new(Socket::new(watched)),
            namespace: namespace.clone(),
            address: endpoint.address.as_str().into(),
            version: Arc::new(AtomicU32::new(endpoint.version)),
            closed,
            order: Arc::default(),
        })
    }

    /// Returns once the connection is closed, by whichever side.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// A call that also finds out the generation: a shim that announced the newest, but does not offer it, is called as of
    /// the one before from then on.
    pub(crate) async fn call_negotiated<Q: Message, A: Message>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        let result = self.call(method, request).await;
        let is_missing = matches!(&result, Err(error) if error.kind() == ErrorKind::Unimplemented);
        if !is_missing || self.version.load(Ordering::Relaxed) < NEWEST {
            return result;
        }
        self.version.store(NEWEST - 1, Ordering::Relaxed);
        self.call(method, request).await
    }

    /// A call of the task service without a limit in time.
    pub(crate) async fn call<Q: Message, A: Message>(&self, method: &'static str, request: &Q) -> Result<A, CallError> {
        let service = format!("containerd.task.v{}.Task", self.version.load(Ordering::Relaxed));
        self.call_service(service, method, request).await
    }

    /// A call of the sandbox service without a limit in time.
    pub(crate) async fn call_sandbox<Q: Message, A: Message>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        self.call_service(SANDBOX_SERVICE.into(), method, request).await
    }

    async fn call_service<Q: Message, A: Message>(
        &self,
        service: String,
        method: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        let request = self.request(service, method, request)?;
        let reply = tokio::select! {
            biased;
            reply = self.send(request) => reply.map_err(|error| self.failure(method, error))?,
            () = self.closed.cancelled() => return Err(CallError::Closed),
        };
        A::parse_from_bytes(&reply.payload).map_err(|error| malformed(method, error))
    }

    /// Sends a request when nobody else is at it. The client numbers a request and puts it into its queue in the first poll, but not in
    /// one step; containerd's shim refuses numbers that come out of order ("StreamID cannot be re-used and must increment"). Only
    /// behind a full queue (100 requests that a shim does not read) may numbers change places.
    async fn send(&self, request: ttrpc::Request) -> ttrpc::Result<ttrpc::Response> {
        // Unconstrained: a task that has used up its turn would let go between the two.
        let mut reply = pin!(tokio::task::unconstrained(self.client.request(request)));
        let first = poll_fn(|context| {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            Poll::Ready(reply.as_mut().poll(context))
        });
        match first.await {
            Poll::Ready(reply) => reply,
            Poll::Pending => reply.await,
        }
    }

    /// A call that must be answered within `limit`.
    pub(crate) async fn call_within<Q: Message, A: Message>(
        &self,
        limit: Duration,
        method: &'static str,
        request: &Q,
    ) -> Result<A, CallError> {
        tokio::time::timeout(limit, self.call(method, request))
            .await
            .unwrap_or(Err(CallError::Late(method)))
    }

    /// The client of a broken connection has only words for it.
    fn failure(&self, method: &'static str, error: ttrpc::Error) -> CallError {
        match error {
            ttrpc::Error::Others(_) if self.is_closed() => CallError::Closed,
            error => refusal(method, error),
        }
    }

    fn request<Q: Message>(
        &self,
        service: String,
        method: &'static str,
        message: &Q,
    ) -> Result<ttrpc::Request, CallError> {
        let mut namespace = ttrpc::proto::KeyValue::new();
        namespace.key = NAMESPACE_HEADER.into();
        namespace.value = self.namespace.to_string();
        let mut request = ttrpc::Request::new();
        request.service = service;
        request.method = method.into();
        request.metadata = vec![namespace];
        request.payload = message.write_to_bytes().map_err(|error| malformed(method, error))?;
        Ok(request)
    }
}

fn refusal(method: &'static str, error: ttrpc::Error) -> CallError {
    match error {
        ttrpc::Error::RpcStatus(status) => CallError::Refused {
            kind: ErrorKind::from_code(status.code.value()),
            text: status.message,
        },
        ttrpc::Error::Others(reason) => malformed(method, reason),
        _ => CallError::Closed,
    }
}

fn malformed(method: &'static str, reason: impl ToString) -> CallError {
    CallError::Malformed {
        method,
        reason: reason.to_string(),
    }
}

/// A stream that tells when it ends, which the ttrpc client does not.
struct Watched {
    stream: UnixStream,
    closed: CancellationToken,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let ended = match &result {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.closed.cancel();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use davit_shim_api::task_v3::shim::{StateRequest, StateResponse};
    use tokio::{io::AsyncReadExt, net::UnixListener};

    use super::*;

    const ROUNDS: usize = 50;
    /// Fewer than the client's queue holds.
    const CALLS: usize = 90;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn requests_arrive_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shim.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let endpoint = Endpoint {
            version: NEWEST,
            address: format!("unix://{}", path.display()),
            protocol: "ttrpc".into(),
        };
        let connection = Connection::open(&endpoint, &"default".parse().unwrap()).await.unwrap();
        let (mut shim, _) = listener.accept().await.unwrap();
        let mut last = 0;
        for _ in 0..ROUNDS {
            for _ in 0..CALLS {
                let connection = connection.clone();
                tokio::spawn(async move {
                    let request = StateRequest::new();
                    let _ = connection.call::<_, StateResponse>("State", &request).await;
                });
            }
            for _ in 0..CALLS {
                // Length, stream id, type, flags: the header of ttrpc.
                let length = shim.read_u32().await.unwrap();
                let stream = shim.read_u32().await.unwrap();
                let mut rest = vec![0; length as usize + 2];
                shim.read_exact(&mut rest).await.unwrap();
                assert!(stream > last, "{stream} after {last}");
                last = stream;
            }
        }
    }
}
