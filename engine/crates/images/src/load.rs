//! `docker load`: a Transfer from an archive on a stream to the image store.

use std::io;

use bytes::Bytes;
use davit_containerd_api::types::transfer::{ImageImportStream, ImageReference, ImageStore, Progress as Event};
use davit_vocabulary::Digest;
use futures::{Stream, StreamExt};
use tonic::Status;

use crate::{
    ImageError, Images, Platform, Progress, ProgressSender, Reference, Result,
    error::{self, containerd},
    names::{self, DANGLING, Named},
    stream::Channel,
    transfer, upload,
};

pub(crate) async fn load(
    images: &Images,
    archive: impl Stream<Item = io::Result<Bytes>> + Send,
    progress: ProgressSender,
) -> Result<Vec<Digest>> {
    let store = &images.inner.store;
    let before = names::list(store, Vec::new()).await?;
    let mut archive = std::pin::pin!(archive.fuse());
    let outcome = transfer(images, archive.as_mut()).await;
    upload::drain(archive).await;
    let saved = outcome?;
    if saved.is_empty() {
        return Err(ImageError::EmptyArchive);
    }
    for old in &before {
        if saved.contains(&old.name) {
            keep_if_moved(images, old).await?;
        }
    }
    let mut ids = Vec::new();
    for name in saved {
        let Some(named) = settle(images, &name).await? else {
            continue;
        };
        images.inner.manifests.forget(&named.target);
        let manifest = images.inner.manifests.get(store, &named.target).await?;
        let Some(manifest) = manifest else {
            names::delete(store, &named.name, false).await?;
            return Err(ImageError::NoMatchingPlatform(Platform::host().to_string()));
        };
        let line = match &named.reference {
            Some(reference) => format!("Loaded image: {}", reference.familiar()),
            None => format!("Loaded image ID: {}", manifest.config_digest),
        };
        let _ = progress.send(Progress::Stream(line)).await;
        ids.push(manifest.config_digest.clone());
    }
    Ok(ids)
}

/// Hands the archive over; returns the names that containerd saved, in the archive's order.
async fn transfer(images: &Images, archive: impl Stream<Item = io::Result<Bytes>> + Send) -> Result<Vec<String>> {
    let store = &images.inner.store;
    let platform = Platform::host();
    let bytes = Channel::open(store, "load").await.map_err(containerd("open stream"))?;
    let source = ImageImportStream {
        stream: bytes.name.clone(),
        ..Default::default()
    };
    let destination = ImageStore {
        // Named images keep their names whatever they are; the others get the dangling name of their manifest.
        extra_references: vec![ImageReference {
            name: DANGLING.into(),
            is_prefix: true,
            allow_overwrite: true,
            add_digest: true,
            skip_named_digest: true,
        }],
        platforms: vec![transfer::platform(&platform)],
        unpacks: vec![transfer::unpack(&platform, &images.inner.settings.snapshotter)],
        ..Default::default()
    };
    let mut saved = Saved::default();
    let transferred = async {
        let outcome = transfer::run(store, &source, &destination, &mut saved).await;
        outcome.map_err(refusal)
    };
    run_beside(transferred, bytes.send_all(archive)).await?;
    Ok(saved.0)
}

/// The names that containerd saved, in order.
#[derive(Default)]
struct Saved(Vec<String>);

impl transfer::Listener for Saved {
    async fn hear(&mut self, event: Event) {
        if event.event == "saved" && !self.0.contains(&event.name) {
            self.0.push(event.name);
        }
    }
}

/// Polls both until the transfer is over. A client whose stream breaks cancels the transfer.
async fn run_beside(
    transfer: impl Future<Output = Result<()>>,
    sending: impl Future<Output = Result<()>>,
) -> Result<()> {
    let (mut transfer, mut sending) = (std::pin::pin!(transfer), std::pin::pin!(sending));
    tokio::select! {
        outcome = &mut transfer => outcome,
        sent = &mut sending => {
            sent?;
            transfer.await
        }
    }
}

fn refusal(status: Status) -> ImageError {
    let text = status.message();
    let is_no_archive = [
        "unrecognized image format",
        "archive/tar",
        "unexpected EOF",
        "not an image archive",
    ];
    if is_no_archive.iter().any(|words| text.contains(words)) {
        return error::archive(text);
    }
    containerd("load")(status)
}

/// The image that had a loaded name before lives on without it.
async fn keep_if_moved(images: &Images, old: &Named) -> Result<()> {
    let now = names::get(&images.inner.store, &old.name).await?;
    if now.is_some_and(|now| now.target != old.target) {
        images.keep_dangling(old).await?;
    }
    Ok(())
}

/// Gives an image that was saved under a short name (`busybox:1`, as some archives have it) its canonical one.
async fn settle(images: &Images, name: &str) -> Result<Option<Named>> {
    let store = &images.inner.store;
    let Some(named) = names::get(store, name).await? else {
        return Ok(None);
    };
    let is_settled = named.reference.is_some() || name == names::dangling(&named.target);
    if is_settled {
        return Ok(Some(named));
    }
    let reference = name.parse::<Reference>().ok().filter(|_| !name.starts_with(DANGLING));
    let settled = match reference {
        Some(reference) => reference.store_name(),
        None => names::dangling(&named.target),
    };
    images.name(&named, &settled).await?;
    names::delete(store, name, false).await?;
    names::get(store, &settled).await
}
