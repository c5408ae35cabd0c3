//! Writing a blob: a conversation that ends with a commit or with the client's going away.

use davit_containerd_api::services::content::v1::{WriteAction, WriteContentRequest, WriteContentResponse};
use davit_content::{ContentError, ContentStore, Writer};
use davit_metadata::{Labels, Scope};
use davit_vocabulary::{Digest, ErrorKind};
use futures::stream::BoxStream;
use tokio::{
    runtime::Handle,
    sync::mpsc::{Sender, channel},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::services::storage::{failed, labels, optional_digest, timestamp};

const NO_REFERENCE: &str = "first message must have a reference";

type Answer = Result<WriteContentResponse, Status>;

/// Serves the conversation on a thread of its own: every message of it ends in a file.
pub(super) fn stream(
    content: ContentStore,
    scope: Scope,
    requests: Streaming<WriteContentRequest>,
) -> BoxStream<'static, Answer> {
    let (sender, receiver) = channel(1);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let conversation = Conversation {
            content,
            scope,
            requests,
            runtime,
            sender: sender.clone(),
        };
        if let Err(refusal) = conversation.hold() {
            // A client that went away needs no refusal.
            let _ = sender.blocking_send(Err(refusal));
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

struct Conversation {
    content: ContentStore,
    scope: Scope,
    requests: Streaming<WriteContentRequest>,
    runtime: Handle,
    sender: Sender<Answer>,
}

/// What the client has promised so far; a later message may add to it.
#[derive(Default)]
struct Promise {
    total: Option<u64>,
    expected: Option<Digest>,
}

impl Conversation {
    fn hold(mut self) -> Result<(), Status> {
        let Some(first) = self.next()? else {
            return Err(Status::invalid_argument(NO_REFERENCE));
        };
        if first.r#ref.is_empty() {
            return Err(Status::invalid_argument(NO_REFERENCE));
        }
        let reference = first.r#ref.clone();
        let mut promise = Promise::default();
        promise.hear(&first)?;
        let total = promise.total.unwrap_or_default();
        let opened = self
            .content
            .writer(&self.scope, &reference, promise.expected.clone(), total);
        let mut writer = opened.map_err(failed)?;
        let mut request = Some(first);
        while let Some(message) = request {
            promise.hear(&message)?;
            self.refuse_known(&message, &reference, &promise)?;
            if message.action() == WriteAction::Commit {
                return self.commit(writer, message, &promise);
            }
            let answer = act(&mut writer, message, &promise)?;
            if self.sender.blocking_send(Ok(answer)).is_err() {
                return Ok(());
            }
            request = self.next()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Option<WriteContentRequest>, Status> {
        self.runtime.block_on(self.requests.message())
    }

    /// A message that promises a blob which is there already ends the write.
    fn refuse_known(&self, message: &WriteContentRequest, reference: &str, promise: &Promise) -> Result<(), Status> {
        let Some(digest) = promise.expected.as_ref().filter(|_| !message.expected.is_empty()) else {
            return Ok(());
        };
        if self.content.info(&self.scope, digest).is_err() {
            return Ok(());
        }
        // Who is told that it is there relies on its lease from now on.
        self.content.hold(&self.scope, digest).map_err(failed)?;
        self.forget(reference);
        let text = format!("blob with expected digest {digest} exists: already exists");
        Err(Status::already_exists(text))
    }

    fn commit(self, mut writer: Writer, message: WriteContentRequest, promise: &Promise) -> Result<(), Status> {
        let labels = labels(message.labels.clone());
        let mut answer = act(&mut writer, message, promise)?;
        let reference = writer.status().reference;
        match finish(writer, promise, labels) {
            Ok(digest) => {
                answer.digest = digest.to_string();
                // A client that went away after its commit has what it wanted.
                let _ = self.sender.blocking_send(Ok(answer));
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::AlreadyExists {
                    self.forget(&reference);
                }
                Err(failed(error))
            }
        }
    }

    fn forget(&self, reference: &str) {
        if let Err(error) = self.content.abort(&self.scope, reference)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(reference, %error, "cannot abort a write of what is there already");
        }
    }
}

impl Promise {
    fn hear(&mut self, message: &WriteContentRequest) -> Result<(), Status> {
        match u64::try_from(message.total) {
            Err(_) => {
                return Err(Status::invalid_argument(format!(
                    "negative total {}: invalid argument",
                    message.total
                )));
            }
            Ok(0) => {}
            Ok(total) => self.total = Some(total),
        }
        if let Some(digest) = optional_digest(&message.expected)? {
            self.expected = Some(digest);
        }
        Ok(())
    }
}

/// Writes what a message brings and answers how far the write is.
fn act(writer: &mut Writer, message: WriteContentRequest, promise: &Promise) -> Answer {
    let action = message.action();
    if let Some(total) = promise.total {
        writer.set_total(total);
    }
    if action != WriteAction::Stat {
        let asked = u64::try_from(message.offset)
            .map_err(|_| Status::invalid_argument(format!("negative offset {}: invalid argument", message.offset)))?;
        writer.seek(asked).map_err(failed)?;
        writer.write(&message.data).map_err(failed)?;
    }
    let status = writer.status();
    Ok(WriteContentResponse {
        action: action.into(),
        started_at: timestamp(status.started_at),
        updated_at: timestamp(status.updated_at),
        offset: i64::try_from(status.offset).unwrap_or(i64::MAX),
        total: i64::try_from(promise.total.unwrap_or(status.total)).unwrap_or(i64::MAX),
        digest: writer.digest().to_string(),
    })
}

fn finish(writer: Writer, promise: &Promise, labels: Labels) -> Result<Digest, ContentError> {
    writer.commit(promise.total, promise.expected.as_ref(), labels)
}
