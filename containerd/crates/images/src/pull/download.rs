//! One blob from the registry into the content store.

use std::time::{Duration, Instant};

use bytes::Bytes;
use davit_content::{ContentError, Writer};
use davit_metadata::{Labels, Scope};
use davit_registry::{Kind, Repository};
use davit_vocabulary::Digest;
use futures::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    ImageError, Reporter, Storage,
    oci::{Reference, Role},
    transfer::source_label,
};

use super::blocking;

/// How often a connection may break without a byte gained.
const FRUITLESS_ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(300);
/// How often a client hears of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Chunks between the network and the disk.
const AHEAD: usize = 32;

pub(super) struct Downloader {
    pub(super) storage: Storage,
    pub(super) scope: Scope,
    pub(super) repository: Repository,
    pub(super) permits: Semaphore,
}

impl Downloader {
    /// Fetches a blob, unless it is here already, and verifies it.
    pub(super) async fn fetch(
        &self,
        blob: &Reference,
        parents: &[String],
        reporter: &Reporter,
    ) -> Result<(), ImageError> {
        reporter.blob("waiting", blob, parents, 0);
        let _permit = self.permits.acquire().await.map_err(|_| ImageError::Cancelled)?;
        match self.open(blob).await? {
            None => reporter.blob("already exists", blob, parents, blob.size),
            Some(writer) => {
                let writer = self.transfer(writer, blob, parents, reporter).await?;
                self.commit(writer, blob).await?;
                reporter.blob("complete", blob, parents, blob.size);
            }
        }
        let (storage, scope) = (self.storage.clone(), self.scope.clone());
        let (digest, source) = (blob.digest.clone(), source_label(self.repository.reference()));
        blocking(move || {
            storage.content.hold(&scope, &digest)?;
            note_source(&storage, &scope, &digest, source)
        })
        .await
    }

    /// A writer for the blob, at the end of what an earlier attempt fetched; `None` where the blob is here.
    ///
    /// Where another transfer fetches the same blob, its end is waited for.
    async fn open(&self, blob: &Reference) -> Result<Option<Writer>, ImageError> {
        loop {
            let (content, scope) = (self.storage.content.clone(), self.scope.clone());
            let (reference, blob) = (blob.write_ref(), blob.clone());
            let opened = blocking(move || Ok(content.writer(&scope, &reference, Some(blob.digest.clone()), blob.size)));
            match opened.await? {
                Ok(writer) => return Ok(Some(writer)),
                Err(ContentError::Exists(_)) => return Ok(None),
                Err(ContentError::Locked(_)) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn transfer(
        &self,
        mut writer: Writer,
        blob: &Reference,
        parents: &[String],
        reporter: &Reporter,
    ) -> Result<Writer, ImageError> {
        let mut fruitless = 0;
        while writer.offset() < blob.size {
            let before = writer.offset();
            let outcome = self.attempt(writer, blob, parents, reporter).await;
            let failure = match outcome {
                (Some(after), failure) => {
                    writer = after;
                    failure
                }
                (None, failure) => return Err(failure.unwrap_or(ImageError::Cancelled)),
            };
            fruitless = if writer.offset() > before { 0 } else { fruitless + 1 };
            let Some(error) = failure else { continue };
            if !is_passing(&error) || fruitless >= FRUITLESS_ATTEMPTS {
                return Err(error);
            }
            tracing::info!(digest = %blob.digest, offset = writer.offset(), %error, "resuming a download");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(writer)
    }

    /// One request. The writer comes back unless the disk failed.
    async fn attempt(
        &self,
        mut writer: Writer,
        blob: &Reference,
        parents: &[String],
        reporter: &Reporter,
    ) -> (Option<Writer>, Option<ImageError>) {
        let kind = match Role::of(&blob.media_type) {
            Role::Index | Role::Manifest => Kind::Manifest,
            Role::Config | Role::Layer | Role::Other => Kind::Blob,
        };
        let begun = self
            .repository
            .fetch(kind, &blob.media_type, &blob.digest, writer.offset())
            .await;
        let download = match begun {
            Ok(download) => download,
            Err(error) => return (Some(writer), Some(error.into())),
        };
        if let Err(error) = writer.seek(download.offset) {
            return (None, Some(error.into()));
        }
        let mut offset = writer.offset();
        let (sender, receiver) = mpsc::channel(AHEAD);
        let writing = tokio::task::spawn_blocking(move || write_all(writer, receiver));
        let mut stream = download.into_stream();
        let mut failure = None;
        let mut reported = Instant::now();
        while let Some(chunk) = stream.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    failure = Some(error.into());
                    break;
                }
            };
            offset += chunk.len() as u64;
            if offset > blob.size {
                failure = Some(too_long(blob));
                break;
            }
            if sender.send(chunk).await.is_err() {
                break;
            }
            if reported.elapsed() >= REPORT_EVERY {
                reported = Instant::now();
                reporter.blob("downloading", blob, parents, offset);
            }
        }
        drop(sender);
        match writing.await {
            Ok(Ok(writer)) => {
                let short = failure.is_none() && writer.offset() < blob.size;
                (Some(writer), failure.or_else(|| short.then(|| too_short(blob))))
            }
            Ok(Err(error)) => (None, Some(error.into())),
            Err(_) => (None, Some(ImageError::Cancelled)),
        }
    }

    /// Verifies the blob. One with wrong bytes is forgotten, for a resumed download could not mend it.
    async fn commit(&self, writer: Writer, blob: &Reference) -> Result<(), ImageError> {
        let (content, scope, blob) = (self.storage.content.clone(), self.scope.clone(), blob.clone());
        blocking(
            move || match writer.commit(Some(blob.size), Some(&blob.digest), Labels::new()) {
                Ok(_) | Err(ContentError::Exists(_)) => Ok(()),
                Err(error) => {
                    if let Err(error) = content.abort(&scope, &blob.write_ref()) {
                        tracing::warn!(digest = %blob.digest, %error, "cannot forget a bad download");
                    }
                    Err(error.into())
                }
            },
        )
        .await
    }
}

/// Notes on a blob which repository it came from.
fn note_source(
    storage: &Storage,
    scope: &Scope,
    digest: &Digest,
    (key, path): (String, String),
) -> Result<(), ImageError> {
    let info = storage.content.info(scope, digest)?;
    let known = info.labels.get(&key).map(String::as_str).unwrap_or_default();
    let mut paths: Vec<&str> = known.split(',').filter(|path| !path.is_empty()).collect();
    if paths.contains(&path.as_str()) {
        return Ok(());
    }
    paths.push(&path);
    paths.sort_unstable();
    let labels = Labels::from([(key, paths.join(","))]);
    Ok(storage.content.add_labels(scope, digest, labels)?)
}

fn write_all(mut writer: Writer, mut chunks: mpsc::Receiver<Bytes>) -> Result<Writer, ContentError> {
    while let Some(chunk) = chunks.blocking_recv() {
        writer.write(&chunk)?;
    }
    Ok(writer)
}

fn is_passing(error: &ImageError) -> bool {
    match error {
        ImageError::Registry(error) => error.is_passing(),
        _ => false,
    }
}

fn too_long(blob: &Reference) -> ImageError {
    ImageError::Document {
        digest: blob.digest.clone(),
        problem: format!(
            "the registry sends more than the {} bytes that its descriptor says",
            blob.size
        ),
    }
}

/// A connection that ended early without an error: worth another attempt.
fn too_short(blob: &Reference) -> ImageError {
    let text = format!("{} ended before its {} bytes", blob.digest, blob.size);
    ImageError::Registry(davit_registry::RegistryError::Transport(text))
}
