//! One call, from its request to its answer.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};
use ttrpc::{
    Code, MessageHeader, Request, Response,
    r#async::{MethodHandler, TtrpcContext},
    context,
};

use super::{Server, connection::Connection, frame::refusal};

/// Calls that change nothing, or that change the same when they come twice: another program can begin them again.
const REPEATABLE: &[&str] = &[
    "Wait",
    "State",
    "Pids",
    "Stats",
    "Connect",
    "ResizePty",
    "CloseIO",
    "Shutdown",
    "WaitSandbox",
    "SandboxStatus",
    "PingSandbox",
    "Platform",
    "SandboxMetrics",
    "Upgrade",
];

/// Whether a call may be broken off and begin again. What is not known must end.
pub fn may_begin_again(method: &str) -> bool {
    REPEATABLE.contains(&method)
}

/// Answers a call that ends with its client.
pub async fn repeatable(server: Arc<Server>, connection: Arc<Connection>, stream: u32, request: Request) {
    let limit = limit(&request);
    let response = time::timeout(limit, server.handle(stream, request)).await;
    connection.answer(stream, &response.unwrap_or_else(|_| late()));
}

/// Begins a call that goes on to its end even if its client does not wait for that: a container must not be left half-made because
/// a manager died.
pub fn begin(server: &Arc<Server>, connection: &Arc<Connection>, stream: u32, request: Request) {
    let (server, connection) = (server.clone(), connection.clone());
    let unfinished = Unfinished::new(&server.unfinished);
    tokio::spawn(async move {
        let limit = limit(&request);
        let handling = server.clone();
        let mut work = tokio::spawn(async move { handling.handle(stream, request).await });
        match time::timeout(limit, &mut work).await {
            Ok(ended) => connection.answer(
                stream,
                &ended.unwrap_or_else(|error| refusal(Code::INTERNAL, error.to_string())),
            ),
            Err(_) => {
                connection.answer(stream, &late());
                // Whatever comes of it, nobody asks any more.
                let _ = work.await;
            }
        }
        drop(unfinished);
    });
}

/// How long the client waits for the answer.
fn limit(request: &Request) -> Duration {
    match u64::try_from(request.timeout_nano) {
        Ok(nanoseconds @ 1..) => Duration::from_nanos(nanoseconds),
        // What tokio takes for never.
        _ => Duration::MAX,
    }
}

fn late() -> Response {
    refusal(Code::DEADLINE_EXCEEDED, "context deadline exceeded")
}

/// Counts one call until it is dropped.
struct Unfinished(watch::Sender<usize>);

impl Unfinished {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Server {
    async fn handle(&self, stream: u32, request: Request) -> Response {
        let handler = match self.handler(&request) {
            Ok(handler) => handler,
            Err(text) => return refusal(Code::UNIMPLEMENTED, text),
        };
        let context = TtrpcContext {
            mh: MessageHeader::new_request(stream, request.payload.len() as u32),
            metadata: context::from_pb(&request.metadata),
            timeout_nano: request.timeout_nano,
            ..Default::default()
        };
        let handled = handler.handler(context, request).await;
        handled.unwrap_or_else(|error| refusal(Code::INVALID_ARGUMENT, error.to_string()))
    }

    /// The words are those of containerd's ttrpc.
    fn handler(&self, request: &Request) -> Result<&(dyn MethodHandler + Send + Sync), String> {
        let service = self.services.get(&request.service);
        let service = service.ok_or_else(|| format!("service {}", request.service))?;
        let method = service.methods.get(&request.method);
        method
            .map(|method| &**method)
            .ok_or_else(|| format!("method {}", request.method))
    }
}
