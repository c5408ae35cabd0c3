//! A layer out of two sets of mounts: what the second shows over the first.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::SystemTime,
};

use davit_content::{ContentError, Sink, Writer};
use davit_metadata::{Descriptor, Labels, Scope};
use davit_snapshots::Mount;
use davit_vocabulary::Digest;
use flate2::{Compression as Level, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::{ImageError, Storage};

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// What a client wants of a diff.
#[derive(Clone, Debug, Default)]
pub struct DiffWish {
    /// The mounts before.
    pub left: Vec<Mount>,
    /// The mounts after: one more directory on top of those before.
    pub right: Vec<Mount>,
    /// The media type of the layer; empty for gzip.
    pub media_type: String,
    /// The name of the write; empty for a new one.
    pub reference: String,
    /// Labels for the blob.
    pub labels: Labels,
}

impl Storage {
    /// Stores a layer of what the right mounts show over the left ones.
    pub fn diff(&self, scope: &Scope, wish: DiffWish) -> Result<Descriptor, ImageError> {
        let upper = upper(&wish)?;
        let media_type = if wish.media_type.is_empty() {
            GZIP
        } else {
            wish.media_type.as_str()
        };
        if ![PLAIN, GZIP, ZSTD].contains(&media_type) {
            return Err(ImageError::Unsupported(format!(
                "unsupported diff media type: {media_type}"
            )));
        }
        let reference = match wish.reference.as_str() {
            "" => unique_reference(),
            reference => reference.to_owned(),
        };
        let mut writer = self.content.writer(scope, &reference, None, 0)?;
        writer.seek(0)?;
        let written = write(writer, upper, media_type).and_then(|(writer, diff_id)| {
            let size = writer.offset();
            let digest = writer.digest();
            let mut labels = wish.labels;
            labels.insert(UNCOMPRESSED.into(), diff_id.to_string());
            match writer.commit(None, None, labels) {
                Err(ContentError::Exists(_)) => {
                    let labels = Labels::from([(UNCOMPRESSED.into(), diff_id.to_string())]);
                    self.content.add_labels(scope, &digest, labels)?;
                }
                other => drop(other?),
            }
            Ok((digest, size))
        });
        let (digest, size) = written.inspect_err(|_| drop(self.content.abort(scope, &reference)))?;
        Ok(Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: Labels::new(),
        })
    }
}

/// The one directory that the right mounts have over the left ones; `None` where they show the same.
fn upper(wish: &DiffWish) -> Result<Option<PathBuf>, ImageError> {
    let unsupported = || {
        let text = "a diff is offered of mounts that have one directory on top of the others";
        ImageError::Unsupported(text.into())
    };
    let right = Mount::directories(&wish.right).ok_or_else(unsupported)?;
    let left = match wish.left.is_empty() {
        true => Vec::new(),
        false => Mount::directories(&wish.left).ok_or_else(unsupported)?,
    };
    if right == left {
        return Ok(None);
    }
    let [top, below @ ..] = right.as_slice() else {
        return Err(unsupported());
    };
    let is_nothing = |folder: &PathBuf| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
    match below == left || (below.is_empty() && left.iter().all(is_nothing)) {
        true => Ok(Some(top.clone())),
        false => Err(unsupported()),
    }
}

/// Hashes what goes through it.
struct Hashing<W> {
    sink: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Writes the layer, compressed; the writer at its end and the diff ID come back.
fn write(writer: Writer, upper: Option<PathBuf>, media_type: &str) -> Result<(Writer, Digest), ImageError> {
    let sink = Sink(writer);
    match media_type {
        GZIP => {
            let (encoder, diff_id) = archive(upper, GzEncoder::new(sink, Level::default()))?;
            Ok((encoder.finish().map_err(unwritten)?.0, diff_id))
        }
        ZSTD => {
            let encoder = zstd::Encoder::new(sink, zstd::DEFAULT_COMPRESSION_LEVEL).map_err(unwritten)?;
            let (encoder, diff_id) = archive(upper, encoder)?;
            Ok((encoder.finish().map_err(unwritten)?.0, diff_id))
        }
        _ => {
            let (sink, diff_id) = archive(upper, sink)?;
            Ok((sink.0, diff_id))
        }
    }
}

fn archive<W: Write>(upper: Option<PathBuf>, sink: W) -> Result<(W, Digest), ImageError> {
    let mut hashing = Hashing {
        sink,
        hasher: Sha256::new(),
    };
    match upper {
        Some(upper) => davit_archive::diff(&upper, &mut hashing)?,
        // The end of a tar is two blocks of zeros.
        None => hashing.write_all(&[0; 1024]).map_err(unwritten)?,
    }
    let diff_id = Digest::sha256(hashing.hasher.finalize().into());
    Ok((hashing.sink, diff_id))
}

fn unwritten(error: io::Error) -> ImageError {
    ImageError::Layer(davit_archive::ArchiveError::Write {
        action: "write",
        name: "layer".into(),
        source: error,
    })
}

fn unique_reference() -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    format!("diff-{}", now.as_nanos())
}
