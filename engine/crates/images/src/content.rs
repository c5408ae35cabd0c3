//! Reading and writing blobs through the Content service.

use std::collections::HashMap;

use bytes::Bytes;
use davit_containerd_api::services::content::v1::{
    ReadContentRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use davit_vocabulary::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::{ImageError, Result, error::containerd, store::Store};

/// The largest manifest, index or configuration that is read: far above any real one, far below a problem.
const LARGEST_DOCUMENT: usize = 8 << 20;

/// Labels of a blob or an image.
pub(crate) type Labels = HashMap<String, String>;

/// A whole JSON document. containerd checked it against its digest when it was written.
pub(crate) async fn read(store: &Store, digest: &Digest) -> Result<Vec<u8>> {
    let request = ReadContentRequest {
        digest: digest.to_string(),
        offset: 0,
        size: 0,
    };
    let mut chunks = store
        .content()
        .read(request)
        .await
        .map_err(containerd("read content"))?
        .into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.message().await.map_err(containerd("read content"))? {
        bytes.extend_from_slice(&chunk.data);
        if bytes.len() > LARGEST_DOCUMENT {
            return Err(invalid(digest, format!("larger than {LARGEST_DOCUMENT} bytes")));
        }
    }
    Ok(bytes)
}

/// Writes a small blob at once.
pub(crate) async fn write(store: &Store, bytes: Vec<u8>, labels: Labels) -> Result<Digest> {
    let digest = Digest::sha256(Sha256::digest(&bytes).into());
    let Some(mut writer) = Writer::open(store, format!("davit-write-{digest}"), Some(&digest)).await? else {
        return Ok(digest);
    };
    let size = bytes.len() as i64;
    writer.append(bytes.into()).await?;
    writer.commit(&digest, size, labels).await?;
    Ok(digest)
}

/// An ingest being written. Dropped without a commit it stays unfinished, for the lease's end to collect.
pub(crate) struct Writer {
    requests: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    reference: String,
    offset: i64,
}

impl Writer {
    /// Begins an ingest from its start; `None` where the expected blob is there already.
    pub(crate) async fn open(store: &Store, reference: String, expected: Option<&Digest>) -> Result<Option<Self>> {
        let (requests, receiver) = mpsc::channel(1);
        let first = WriteContentRequest {
            action: WriteAction::Write as i32,
            r#ref: reference.clone(),
            expected: expected.map(Digest::to_string).unwrap_or_default(),
            ..Default::default()
        };
        requests.send(first).await.expect("the receiver is on this stack");
        let opened = async {
            let mut answers = store.content().write(ReceiverStream::new(receiver)).await?.into_inner();
            answers
                .message()
                .await?
                .ok_or_else(|| tonic::Status::aborted("no answer"))?;
            Ok(answers)
        };
        match opened.await.map_err(containerd("write content")) {
            Ok(answers) => Ok(Some(Self {
                requests,
                answers,
                reference,
                offset: 0,
            })),
            Err(error) if error.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds bytes; returns when containerd has them.
    pub(crate) async fn append(&mut self, data: Bytes) -> Result<()> {
        let length = data.len() as i64;
        self.ask(WriteContentRequest {
            action: WriteAction::Write as i32,
            r#ref: self.reference.clone(),
            offset: self.offset,
            data: data.into(),
            ..Default::default()
        })
        .await?;
        self.offset += length;
        Ok(())
    }

    /// Makes it a blob, verified by containerd. One that exists already is as good.
    pub(crate) async fn commit(mut self, expected: &Digest, size: i64, labels: Labels) -> Result<()> {
        let committed = self
            .ask(WriteContentRequest {
                action: WriteAction::Commit as i32,
                r#ref: self.reference.clone(),
                offset: self.offset,
                total: size,
                expected: expected.to_string(),
                labels,
                ..Default::default()
            })
            .await;
        match committed {
            Err(error) if error.is_already_exists() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn ask(&mut self, request: WriteContentRequest) -> Result<WriteContentResponse> {
        // A closed channel means that containerd ended the call: its status says why.
        let _ = self.requests.send(request).await;
        let answer = self.answers.message().await.map_err(containerd("write content"))?;
        answer.ok_or_else(|| containerd("write content")(tonic::Status::aborted("the stream ended early")))
    }
}

/// An error about a blob's content.
pub(crate) fn invalid(digest: &Digest, problem: impl ToString) -> ImageError {
    ImageError::InvalidContent {
        digest: digest.clone(),
        problem: problem.to_string(),
    }
}
