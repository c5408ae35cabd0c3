//! An image into an archive over containerd's Transfer service, to the last byte.
//!
//! `ctr images export` makes the same calls, but another of its threads copies the stream into the file, and it does not wait
//! for that one (containerd 2, core/transfer/archive/exporter.go): on a busy machine it exits well and leaves a part of the archive.

use std::{fs, path::Path, time::Duration};

use davit_containerd_api::{
    any,
    services::{
        streaming::v1::{StreamInit, streaming_client::StreamingClient},
        transfer::v1::{TransferRequest, transfer_client::TransferClient},
    },
    types::transfer::{Data, ImageExportStream, ImageStore, WindowUpdate},
};
use prost_types::Any;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, service::interceptor::InterceptedService};

use crate::channel;

/// The stream's name. Every manager lives for one test.
const STREAM: &str = "export";
/// A record of a tar archive, in bytes.
const RECORD: usize = 512;
/// How long an export may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that the manager may send at once: more than the image has.
const WINDOW: i32 = 1 << 30;

/// Writes the image of this name, for this machine's platform, to `archive`.
pub fn export(socket: &Path, name: &str, archive: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let read = async { tokio::time::timeout(PATIENCE, read(socket, name)).await };
    let bytes = runtime.expect("a runtime").block_on(read);
    fs::write(archive, bytes.expect("in time").expect("an export")).expect("the folder is ours");
}

async fn read(socket: &Path, name: &str) -> Result<Vec<u8>, Status> {
    let channel = channel::to(socket).await;
    let (outgoing, receiver) = tokio::sync::mpsc::channel(2);
    let init = StreamInit { id: STREAM.into() };
    let window = WindowUpdate { update: WINDOW };
    for message in [any::pack(&init), any::pack(&window)] {
        outgoing.try_send(message).expect("there is room for two");
    }
    let mut streaming = StreamingClient::new(InterceptedService::new(channel.clone(), channel::in_the_namespace));
    let mut incoming = streaming.stream(ReceiverStream::new(receiver)).await?.into_inner();
    incoming.message().await?.expect("the stream is acknowledged");

    let mut client = TransferClient::new(InterceptedService::new(channel, channel::in_the_namespace));
    let mut transfer = std::pin::pin!(client.transfer(request(name)));
    let (mut is_done, mut is_open) = (false, true);
    let mut bytes = Vec::new();
    // The real containerd leaves the stream open, so the archive itself has to tell its end.
    while !(is_done && is_whole(&bytes)) {
        tokio::select! {
            answer = &mut transfer, if !is_done => {
                answer?;
                is_done = true;
            }
            message = incoming.message(), if is_open => match message? {
                Some(message) => bytes.extend(data(&message)),
                None => is_open = false,
            },
            else => panic!("the archive ends after {} bytes", bytes.len()),
        }
    }
    Ok(bytes)
}

fn request(name: &str) -> TransferRequest {
    let source = ImageStore {
        name: name.into(),
        ..Default::default()
    };
    let destination = ImageExportStream {
        stream: STREAM.into(),
        media_type: "application/vnd.oci.image.layout.v1+tar".into(),
        ..Default::default()
    };
    TransferRequest {
        source: Some(any::pack(&source)),
        destination: Some(any::pack(&destination)),
        options: None,
    }
}

fn data(message: &Any) -> Vec<u8> {
    let data: Option<Result<Data, _>> = any::unpack(message);
    data.expect("data alone").expect("a message").data
}

/// Whether these bytes are a whole tar archive: members, and two records of zeros.
fn is_whole(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_at_checked(RECORD) {
        if header.iter().all(|byte| *byte == 0) {
            return after.starts_with(&[0; RECORD]);
        }
        let octal = str::from_utf8(&header[124..136]).expect("a size in octal digits");
        let size = usize::from_str_radix(octal.trim_matches(['\0', ' ']), 8).expect("a size in octal digits");
        rest = after.get(size.next_multiple_of(RECORD)..).unwrap_or_default();
    }
    false
}
