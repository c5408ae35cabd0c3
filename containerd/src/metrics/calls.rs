//! Counts of gRPC calls, in the names of the Prometheus interceptors that containerd has.
//!
//! Of the methods of our services alone: what a client invents would be a label for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Instant,
};

use http_body_util::BodyExt as _;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
};
use tower::{Layer, Service};

use super::exposition::{Exposition, Kind};

/// The upper bounds of a histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The methods that are more than a question and an answer.
const STREAMS: [(&str, &str); 9] = [
    ("containerd.services.content.v1.Content/List", "server_stream"),
    ("containerd.services.content.v1.Content/Read", "server_stream"),
    ("containerd.services.content.v1.Content/Write", "bidi_stream"),
    (
        "containerd.services.containers.v1.Containers/ListStream",
        "server_stream",
    ),
    ("containerd.services.events.v1.Events/Subscribe", "server_stream"),
    ("containerd.services.snapshots.v1.Snapshots/List", "server_stream"),
    ("containerd.services.streaming.v1.Streaming/Stream", "bidi_stream"),
    ("containerd.services.mounts.v1.Mounts/List", "server_stream"),
    ("grpc.health.v1.Health/Watch", "server_stream"),
];

/// The counts, cheap to clone. Nothing is counted where nobody is to be told.
#[derive(Clone, Debug, Default)]
pub struct Calls(Option<Arc<Counts>>);

#[derive(Debug)]
struct Counts {
    services: BTreeSet<&'static str>,
    histogram: bool,
    /// By the path of the method, `service/method`.
    methods: Mutex<BTreeMap<String, Method>>,
}

#[derive(Debug, Default)]
struct Method {
    started: u64,
    /// By their code.
    handled: BTreeMap<i32, u64>,
    /// How many took at most the time of each bucket, and the time of all together.
    within: [u64; BUCKETS.len()],
    seconds: f64,
}

impl Calls {
    /// Counts of the calls of these services, with the time that they take if there shall be a `histogram`.
    pub fn new(services: impl IntoIterator<Item = &'static str>, histogram: bool) -> Self {
        Self(Some(Arc::new(Counts {
            services: services.into_iter().collect(),
            histogram,
            methods: Mutex::default(),
        })))
    }

    /// Counts the beginning of a call; dropped, what is returned counts its end.
    fn begin(&self, path: &str) -> Option<Call> {
        let counts = self.0.as_ref()?;
        let path = path.trim_start_matches('/');
        let (service, _) = path.split_once('/')?;
        if !counts.services.contains(service) {
            return None;
        }
        Some(Call {
            counts: counts.clone(),
            path: path.to_owned(),
            began: Instant::now(),
            code: Code::Cancelled,
            is_noted: false,
        })
    }

    pub(super) fn write(&self, text: &mut Exposition) {
        let Some(counts) = &self.0 else { return };
        let methods = counts.methods();
        let all = || methods.iter().map(|(path, method)| (Labels::of(path), method));
        text.family(
            "grpc_server_started_total",
            Kind::Counter,
            "Total number of RPCs started on the server.",
        );
        for (labels, method) in all() {
            text.sample("grpc_server_started_total", &labels.with(None), method.started as f64);
        }
        let help = "Total number of RPCs completed on the server, regardless of success or failure.";
        text.family("grpc_server_handled_total", Kind::Counter, help);
        for (labels, method) in all() {
            for (code, count) in &method.handled {
                let code = ("grpc_code", name(Code::from_i32(*code)));
                text.sample("grpc_server_handled_total", &labels.with(Some(code)), *count as f64);
            }
        }
        if counts.histogram {
            write_histogram(all(), text);
        }
    }
}

fn write_histogram<'a>(methods: impl Iterator<Item = (Labels<'a>, &'a Method)>, text: &mut Exposition) {
    let help = "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.";
    text.family("grpc_server_handling_seconds", Kind::Histogram, help);
    for (labels, method) in methods {
        let count = method.handled.values().sum::<u64>() as f64;
        for (bound, within) in BUCKETS.iter().zip(method.within) {
            let bound = bound.to_string();
            let labels = labels.with(Some(("le", &bound)));
            text.sample("grpc_server_handling_seconds_bucket", &labels, within as f64);
        }
        text.sample(
            "grpc_server_handling_seconds_bucket",
            &labels.with(Some(("le", "+Inf"))),
            count,
        );
        text.sample("grpc_server_handling_seconds_sum", &labels.with(None), method.seconds);
        text.sample("grpc_server_handling_seconds_count", &labels.with(None), count);
    }
}

impl Counts {
    fn methods(&self) -> MutexGuard<'_, BTreeMap<String, Method>> {
        self.methods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Labels<'a> {
    service: &'a str,
    method: &'a str,
    kind: &'static str,
}

impl<'a> Labels<'a> {
    fn of(path: &'a str) -> Self {
        let (service, method) = path.split_once('/').unwrap_or((path, ""));
        let kind = STREAMS.iter().find(|(stream, _)| *stream == path);
        Self {
            service,
            method,
            kind: kind.map_or("unary", |(_, kind)| kind),
        }
    }

    fn with<'b>(&'b self, more: Option<(&'b str, &'b str)>) -> Vec<(&'b str, &'b str)> {
        let own = [
            ("grpc_method", self.method),
            ("grpc_service", self.service),
            ("grpc_type", self.kind),
        ];
        let mut labels: Vec<_> = more.into_iter().chain(own).collect();
        labels.sort();
        labels
    }
}

/// The name of a code in gRPC for Go.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// A call that is being answered. One whose answer nobody takes to its end is cancelled.
struct Call {
    counts: Arc<Counts>,
    path: String,
    began: Instant,
    code: Code,
    /// Its beginning is counted.
    is_noted: bool,
}

impl Call {
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }

    /// Counts the beginning. A method that is none of its service's has no counts.
    fn note(&mut self) {
        self.is_noted = true;
        self.counts.methods().entry(self.path.clone()).or_default().started += 1;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        if !self.is_noted {
            // Nobody has waited for the answer, or the method is none of its service's.
            if self.code == Code::Unimplemented {
                return;
            }
            self.note();
        }
        let mut methods = self.counts.methods();
        let Some(method) = methods.get_mut(&self.path) else {
            return;
        };
        *method.handled.entry(self.code.into()).or_default() += 1;
        method.seconds += seconds;
        let within = BUCKETS
            .iter()
            .zip(&mut method.within)
            .filter(|(bound, _)| seconds <= **bound);
        within.for_each(|(_, count)| *count += 1);
    }
}

impl<S> Layer<S> for Calls {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            calls: self.clone(),
        }
    }
}

/// A server whose calls are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    calls: Calls,
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = self.calls.begin(request.uri().path());
        let answer = self.inner.call(request);
        let Some(mut call) = call else {
            return Box::pin(answer);
        };
        Box::pin(async move {
            let answer = answer.await?;
            call.hear(answer.headers());
            if call.code == Code::Unimplemented {
                return Ok(answer);
            }
            call.note();
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    if let Some(trailers) = frame.trailers_ref() {
                        call.hear(trailers);
                    }
                    frame
                }))
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_by_its_code_and_its_time_and_one_that_nobody_waits_for_is_cancelled() {
        let calls = Calls::new(["a.B"], true);
        assert!(calls.begin("/c.D/Get").is_none());
        let mut answered = calls.begin("/a.B/Get").unwrap();
        answered.note();
        let mut headers = HeaderMap::new();
        Status::not_found("x").add_header(&mut headers).unwrap();
        answered.hear(&headers);
        drop(answered);
        drop(calls.begin("/a.B/Get").unwrap());
        let mut text = Exposition::default();
        calls.write(&mut text);
        let text = text.into_text();
        let labels = "grpc_method=\"Get\",grpc_service=\"a.B\",grpc_type=\"unary\"";
        for line in [
            format!("grpc_server_started_total{{{labels}}} 2"),
            format!("grpc_server_handled_total{{grpc_code=\"NotFound\",{labels}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{labels}}} 1"),
            format!("grpc_server_handling_seconds_count{{{labels}}} 2"),
            format!("grpc_server_handling_seconds_bucket{{{labels},le=\"10\"}} 2"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
