//! Calls of any method, and a transcript of what came back.

use std::{fs, path::Path, time::Duration};

use davit_containerd_api::rpc;
use davit_integration_tests::{Containerd, Manager, Scratch, program};
use prost::Message;
use tonic::{
    Request, Status,
    client::Grpc,
    codegen::{http::uri::PathAndQuery, tokio_stream::StreamExt as _},
    transport::Channel,
};
use tonic_prost::ProstCodec;

use crate::channel;

/// A manager that is asked, and what it answered: a line a call.
pub struct Asked {
    channel: Channel,
    /// The headers that every call has.
    pub headers: Vec<(&'static str, String)>,
    /// How long a call may take.
    pub patience: Duration,
    /// The world of this test.
    pub scratch: String,
    lines: Vec<String>,
}

impl Asked {
    async fn of(scratch: &Scratch, socket: &Path) -> Self {
        Self {
            channel: channel::to(socket).await,
            headers: vec![("containerd-namespace", namespace(scratch))],
            patience: Duration::from_secs(60),
            scratch: scratch.path().display().to_string(),
            lines: Vec::new(),
        }
    }

    /// Makes a call, and writes its end down.
    pub async fn call<Q, A>(&mut self, what: &str, method: &str, request: Q) -> Option<A>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.expect("the manager listens");
        let request = self.request(request);
        let answer = grpc.unary(request, path(method), ProstCodec::<Q, A>::default()).await;
        self.note(what, answer.map(tonic::Response::into_inner))
    }

    /// Makes a call whose answer is a stream, and writes its end down.
    pub async fn stream<Q, A>(&mut self, what: &str, method: &str, request: Q) -> Option<Vec<A>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.expect("the manager listens");
        let request = self.request(request);
        let answer = grpc
            .server_streaming(request, path(method), ProstCodec::<Q, A>::default())
            .await;
        let all = match answer {
            Ok(stream) => stream.into_inner().collect::<Result<Vec<A>, Status>>().await,
            Err(status) => Err(status),
        };
        self.note(what, all)
    }

    /// Makes a call that sends a stream, and gets one.
    pub async fn talk<Q, A>(&mut self, what: &str, method: &str, messages: Vec<Q>) -> Option<Vec<A>>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.grpc();
        grpc.ready().await.expect("the manager listens");
        let request = self.request(()).map(|()| tokio_stream::iter(messages));
        let answer = grpc
            .streaming(request, path(method), ProstCodec::<Q, A>::default())
            .await;
        let all = match answer {
            Ok(stream) => stream.into_inner().collect::<Result<Vec<A>, Status>>().await,
            Err(status) => Err(status),
        };
        self.note(what, all)
    }

    /// The line that was written last.
    pub fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// Writes a fact down, to be compared like an answer.
    pub fn write(&mut self, line: String) {
        self.lines.push(line);
    }

    fn grpc(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone())
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20)
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        for (name, value) in &self.headers {
            request.metadata_mut().insert(*name, value.parse().expect("ASCII"));
        }
        request.set_timeout(self.patience);
        request
    }

    /// `NAMESPACE/12/key` → `key`: what a snapshotter of containerd's calls a snapshot.
    fn without_numbers(&self, line: &str) -> String {
        let namespace = format!("{}/", self.scratch.trim_start_matches("/tmp/"));
        let mut parts = line.split(&namespace);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let name = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
            text += match name.strip_prefix('/').filter(|_| name.len() < part.len()) {
                Some(name) => name,
                None => part,
            };
        }
        text
    }

    fn note<A>(&mut self, what: &str, answer: Result<A, Status>) -> Option<A> {
        if let Err(status) = &answer {
            assert!(
                !status.message().contains("transport error"),
                "{what}: the manager is gone: {status:?}"
            );
        }
        let line = match &answer {
            Ok(_) => format!("{what}: ok"),
            Err(status) => format!("{what}: {:?} {}{}", status.code(), status.message(), details(status)),
        };
        // The two managers have folders of their own in the same scratch.
        // How large a message is depends on the times in it.
        let line = line
            .split_once("larger than max (")
            .map_or(line.as_str(), |(words, _)| words);
        // Go's protobuf library puts a no-break space into its errors now and then, so that nobody compares them.
        let line = line
            .replace('\u{a0}', " ")
            .replace("/rcroot", "/croot")
            .replace("/rcstate", "/cstate");
        self.lines.push(self.without_numbers(&line.replace('\n', "\\n")));
        answer.ok()
    }
}

/// Makes a call and writes its end down: what it is, the method, and the request `=>` the type of the answer.
macro_rules! ask {
    ($asked:expr, $what:expr, $method:expr, $request:expr => stream $answer:ty) => {
        $asked
            .stream::<_, $answer>(AsRef::<str>::as_ref(&$what), $method, $request)
            .await;
    };
    ($asked:expr, $what:expr, $method:expr, $request:expr => $answer:ty) => {
        $asked
            .call::<_, $answer>(AsRef::<str>::as_ref(&$what), $method, $request)
            .await;
    };
}
pub(crate) use ask;

/// Runtimes keep all containers of a namespace in one place, wherever their manager has its own.
fn namespace(scratch: &Scratch) -> String {
    let name = scratch.path().file_name().expect("a scratch folder has a name");
    name.to_string_lossy().into_owned()
}

fn path(method: &str) -> PathAndQuery {
    let prefix = if method.starts_with("grpc.") {
        ""
    } else {
        "containerd.services."
    };
    format!("/{prefix}{method}").parse().expect("a path")
}

/// The errors that a status carries besides its own.
fn details(status: &Status) -> String {
    let Ok(whole) = rpc::Status::decode(status.details()) else {
        return " (undecodable details)".into();
    };
    let detail = |any: &prost_types::Any| match any.type_url.ends_with("google.rpc.Status") {
        true => rpc::Status::decode(any.value.as_slice())
            .map_or("?".into(), |inner| format!("{} {}", inner.code, inner.message)),
        false => any.type_url.clone(),
    };
    whole.details.iter().map(|any| format!(" [{}]", detail(any))).collect()
}

/// Puts the same questions to the real containerd and to ours: the transcripts are equal.
#[track_caller]
pub fn on_both(scratch: &Scratch, ask: impl AsyncFn(&mut Asked)) {
    compare(&of_containerd(scratch, &ask), &of_ours(scratch, &ask));
}

/// The same, and once more with our shim in the place of containerd's: it has the same words, and a code where containerd's has
/// none. Answers to the questions in `in_other_words` are refusals from both.
#[track_caller]
pub fn with_both_shims(scratch: &Scratch, in_other_words: &[&str], ask: impl AsyncFn(&mut Asked)) {
    let expected = of_containerd(scratch, &ask);
    compare(&expected, &of_ours(scratch, &ask));
    for folder in ["croot", "cstate"] {
        fs::remove_dir_all(scratch.join(folder)).expect("nothing is mounted there any more");
    }
    let programs = scratch.shared_programs();
    let (ours, theirs) = (
        programs.join("containerd-shim-davit-v1"),
        programs.join("containerd-shim-runc-v2"),
    );
    // A shim is looked for beside the manager first.
    program::copy(ours, &theirs).expect("a program can be copied");
    let found = of_ours(scratch, &ask).into_iter().zip(&expected);
    let is_reworded = |found: &str| in_other_words.iter().any(|what| found.starts_with(what));
    let judged = found.map(|(found, expected)| {
        let both_refuse = !found.ends_with(": ok") && !expected.ends_with(": ok");
        let is_same = is_reworded(&found) && both_refuse || without_kind(&found).as_ref() == Some(expected);
        if is_same { expected.clone() } else { found }
    });
    compare(&expected, &judged.collect::<Vec<_>>());
}

/// `what: FailedPrecondition words: failed precondition` → `what: Unknown words`.
fn without_kind(line: &str) -> Option<String> {
    let line = line.strip_suffix(": failed precondition")?;
    Some(line.replacen(": FailedPrecondition ", ": Unknown ", 1))
}

#[track_caller]
fn compare(expected: &[String], found: &[String]) {
    let pairs = expected.iter().zip(found).filter(|(expected, found)| expected != found);
    let differences: String = pairs
        .map(|(expected, found)| format!("containerd: {expected}\nours:       {found}\n"))
        .collect();
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(expected.len(), found.len());
}

fn of_containerd(scratch: &Scratch, ask: &impl AsyncFn(&mut Asked)) -> Vec<String> {
    let containerd = Containerd::start(scratch);
    let found = transcript(scratch, containerd.socket(), ask);
    containerd.stop();
    found
}

/// Puts questions to ours alone, which containerd dies of, or answers with what it does not mean. Returns the transcript.
#[track_caller]
pub fn of_ours(scratch: &Scratch, ask: impl AsyncFn(&mut Asked)) -> Vec<String> {
    let manager = Manager::start_among_peers(scratch);
    let found = transcript(scratch, manager.socket(), &ask);
    manager.stop();
    found
}

fn transcript(scratch: &Scratch, socket: &Path, ask: &impl AsyncFn(&mut Asked)) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut asked = Asked::of(scratch, socket).await;
        ask(&mut asked).await;
        asked.lines
    })
}
