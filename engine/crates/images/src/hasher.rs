//! The digests of a layer, compressed and not, computed beside the stream that writes it.

use std::io::{self, Write};

use bytes::Bytes;
use davit_vocabulary::Digest;
use flate2::write::MultiGzDecoder;
use sha2::{Digest as _, Sha256};
use tokio::{sync::mpsc, task};

use crate::{ImageError, Result};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// The layer's media type.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::None => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

/// Tells by the first bytes. Kinds that are not offered are refused by name.
pub(crate) fn detect(start: &[u8]) -> Result<Compression> {
    let refused = [
        (&b"BZh"[..], "bzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    ];
    if let Some((_, name)) = refused.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(ImageError::InvalidArgument(format!(
            "import of an archive compressed with {name} is not offered"
        )));
    }
    Ok(if start.starts_with(&[0x1f, 0x8b]) {
        Compression::Gzip
    } else {
        Compression::None
    })
}

/// What was hashed.
pub(crate) struct Hashed {
    /// Of the bytes as they came.
    pub digest: Digest,
    /// Of the bytes inside.
    pub diff_id: Digest,
    /// Of the bytes as they came.
    pub size: i64,
}

/// A thread that hashes (and inflates) what it is given.
pub(crate) struct Hasher {
    compression: Compression,
    chunks: mpsc::Sender<Bytes>,
    work: task::JoinHandle<io::Result<Hashed>>,
}

impl Hasher {
    pub(crate) fn start(compression: Compression) -> Self {
        let (chunks, receiver) = mpsc::channel(4);
        let work = task::spawn_blocking(move || hash(compression, receiver));
        Self {
            compression,
            chunks,
            work,
        }
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Adds bytes; waits while the thread is behind.
    pub(crate) async fn add(&self, bytes: Bytes) {
        // A thread that has ended says why in `finish`.
        let _ = self.chunks.send(bytes).await;
    }

    pub(crate) async fn finish(self) -> Result<Hashed> {
        drop(self.chunks);
        let hashed = self.work.await.expect("the thread does not panic and is not aborted");
        hashed.map_err(ImageError::Archive)
    }
}

fn hash(compression: Compression, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<Hashed> {
    let mut outer = Sha256::new();
    let mut inflate = (compression == Compression::Gzip).then(|| MultiGzDecoder::new(Sink(Sha256::new())));
    let mut size = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        outer.update(&chunk);
        size += chunk.len() as i64;
        if let Some(inflate) = &mut inflate {
            inflate.write_all(&chunk)?;
        }
    }
    let digest = Digest::sha256(outer.finalize().into());
    let diff_id = match inflate {
        Some(inflate) => Digest::sha256(inflate.finish()?.0.finalize().into()),
        None => digest.clone(),
    };
    Ok(Hashed { digest, diff_id, size })
}

/// Hashes what is written to it.
struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression as Level, write::GzEncoder};

    use super::*;

    async fn hash_of(bytes: Vec<u8>) -> Result<Hashed> {
        let hasher = Hasher::start(detect(&bytes)?);
        for chunk in bytes.chunks(7) {
            hasher.add(Bytes::copy_from_slice(chunk)).await;
        }
        hasher.finish().await
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn a_gzip_archive_has_the_diff_id_of_the_plain_one() {
        let plain = hash_of(vec![7; 5000]).await.unwrap();
        assert_eq!(plain.digest, plain.diff_id);
        let compressed = hash_of(gzip(&[7; 5000])).await.unwrap();
        assert_eq!(compressed.diff_id, plain.diff_id);
        assert_ne!(compressed.digest, plain.digest);
    }

    #[tokio::test]
    async fn a_truncated_or_refused_archive_is_an_error() {
        let mut cut = gzip(&[7; 5000]);
        cut.truncate(cut.len() / 2);
        assert!(matches!(hash_of(cut).await, Err(ImageError::Archive(_))));
        assert!(matches!(
            hash_of(b"BZh9xxxx".to_vec()).await,
            Err(ImageError::InvalidArgument(_))
        ));
    }
}
