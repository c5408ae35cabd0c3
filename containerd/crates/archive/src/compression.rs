use std::io::{BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

use crate::ArchiveError;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, one or more members.
    Gzip,
    /// Zstandard.
    Zstd,
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const READ_SIZE: usize = 128 * 1024;

type Rest<R> = Chain<Cursor<Vec<u8>>, R>;

impl Compression {
    /// What the first bytes of a stream show.
    pub fn of_bytes(start: &[u8]) -> Self {
        if start.starts_with(&GZIP_MAGIC) {
            return Self::Gzip;
        }
        if start.starts_with(&ZSTD_MAGIC) {
            return Self::Zstd;
        }
        // A skippable frame: 0x184D2A50 to 0x184D2A5F, little-endian.
        match start {
            [first, 0x2a, 0x4d, 0x18, ..] if first & 0xf0 == 0x50 => Self::Zstd,
            _ => Self::Plain,
        }
    }

    /// Refuses media types that name no layer archive. Which compression is really used, the bytes say.
    pub fn check_media_type(media_type: &str) -> Result<(), ArchiveError> {
        let known = media_type.is_empty()
            || media_type.starts_with("application/vnd.oci.image.layer.v1.tar")
            || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar")
            || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar");
        match media_type.contains("+encrypted") || !known {
            true => Err(ArchiveError::MediaType(media_type.into())),
            false => Ok(()),
        }
    }
}

/// A stream that gives the plain bytes of `source`, whatever its compression.
pub(crate) fn decode<'a>(mut source: impl Read + Send + 'a) -> std::io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::with_capacity(8);
    source.by_ref().take(4).read_to_end(&mut start)?;
    let compression = Compression::of_bytes(&start);
    let rest: BufReader<Rest<_>> = BufReader::with_capacity(READ_SIZE, Cursor::new(start).chain(source));
    Ok(match compression {
        Compression::Plain => Box::new(rest),
        Compression::Gzip => Box::new(MultiGzDecoder::new(rest)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(rest)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_that_name_no_layer_are_refused() {
        for good in [
            "",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        ] {
            assert!(Compression::check_media_type(good).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"] {
            assert!(Compression::check_media_type(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn skippable_frames_begin_zstandard_too() {
        assert_eq!(Compression::of_bytes(&[0x51, 0x2a, 0x4d, 0x18]), Compression::Zstd);
        assert_eq!(Compression::of_bytes(&[0x1f, 0x8b, 8, 0]), Compression::Gzip);
        assert_eq!(Compression::of_bytes(&[0x1f]), Compression::Plain);
    }
}
