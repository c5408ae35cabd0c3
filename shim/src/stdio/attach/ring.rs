//! The last output, in pieces that know their stream and their offset.

use std::collections::VecDeque;

use davit_luggage::Bytes;
use davit_stdio::{MAX_PAYLOAD, Stream};
use serde::{Deserialize, Serialize};

/// Small pieces of one stream are joined up to this size, in bytes.
const JOINED: usize = 16 << 10;

/// Output from [`Ring::start`] to [`Ring::end`], without gaps.
#[derive(Debug, Default)]
pub struct Ring {
    pieces: VecDeque<Piece>,
    end: u64,
}

#[derive(Debug)]
struct Piece {
    stream: Stream,
    offset: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// A ring on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct RingState {
    start: u64,
    /// Whether it is stderr, and the bytes.
    pieces: Vec<(bool, Bytes)>,
}

impl Ring {
    /// The pieces, for another program of ours.
    pub fn pack(&self) -> RingState {
        let piece = |piece: &Piece| (piece.stream == Stream::Stderr, Bytes(piece.bytes.clone()));
        RingState {
            start: self.start(),
            pieces: self.pieces.iter().map(piece).collect(),
        }
    }

    /// The ring of another program of ours.
    pub fn unpack(state: RingState) -> Self {
        let mut ring = Self {
            pieces: VecDeque::new(),
            end: state.start,
        };
        for (is_error, bytes) in state.pieces {
            let stream = if is_error { Stream::Stderr } else { Stream::Stdout };
            ring.push(stream, &bytes.0);
        }
        ring
    }

    /// Offset of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.pieces.front().map_or(self.end, |piece| piece.offset)
    }

    /// Offset of the next byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Adds output.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) {
        for bytes in bytes.chunks(MAX_PAYLOAD) {
            match self.pieces.back_mut() {
                Some(last) if last.stream == stream && last.bytes.len() + bytes.len() <= JOINED => {
                    last.bytes.extend_from_slice(bytes);
                }
                _ => self.pieces.push_back(Piece {
                    stream,
                    offset: self.end,
                    bytes: bytes.to_vec(),
                }),
            }
            self.end += bytes.len() as u64;
        }
    }

    /// Drops what is older than `keep_from`, in whole pieces.
    pub fn trim(&mut self, keep_from: u64) {
        while self.pieces.front().is_some_and(|piece| piece.end() <= keep_from) {
            self.pieces.pop_front();
        }
    }

    /// The bytes of one stream that begin at `offset`; `None` at the end. `offset` must not lie before the start.
    pub fn at(&self, offset: u64) -> Option<(Stream, &[u8])> {
        let index = self.pieces.partition_point(|piece| piece.end() <= offset);
        let piece = self.pieces.get(index)?;
        let skip = offset.checked_sub(piece.offset)?;
        Some((piece.stream, &piece.bytes[skip as usize..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ring: &Ring, mut offset: u64) -> Vec<(Stream, Vec<u8>)> {
        let mut seen = Vec::new();
        while let Some((stream, bytes)) = ring.at(offset) {
            seen.push((stream, bytes.to_vec()));
            offset += bytes.len() as u64;
        }
        seen
    }

    #[test]
    fn output_is_read_from_any_kept_offset() {
        let mut ring = Ring::default();
        ring.push(Stream::Stdout, b"ab");
        ring.push(Stream::Stdout, b"cd");
        ring.push(Stream::Stderr, b"ef");
        assert_eq!((ring.start(), ring.end()), (0, 6));
        let both = |text: &[u8]| vec![(Stream::Stdout, text.to_vec()), (Stream::Stderr, b"ef".to_vec())];
        assert_eq!(all(&ring, 0), both(b"abcd"));
        assert_eq!(all(&ring, 3), both(b"d"));
        assert_eq!(all(&ring, 6), vec![]);
    }

    #[test]
    fn a_ring_goes_on_where_another_has_ended() {
        let mut ring = Ring::default();
        for (stream, bytes) in [
            (Stream::Stdout, &b"ab"[..]),
            (Stream::Stderr, b"c"),
            (Stream::Stdout, b"de"),
        ] {
            ring.push(stream, bytes);
        }
        ring.trim(2);
        let mut other = Ring::unpack(ring.pack());
        assert_eq!((other.start(), other.end()), (2, 5));
        assert_eq!(all(&other, 2), all(&ring, 2));
        other.push(Stream::Stderr, b"f");
        assert_eq!(other.end(), 6);
        ring.trim(ring.end());
        let empty = Ring::unpack(ring.pack());
        assert_eq!((empty.start(), empty.end()), (5, 5));
    }

    #[test]
    fn trimming_never_drops_what_must_be_kept() {
        let mut ring = Ring::default();
        for _ in 0..10 {
            ring.push(Stream::Stdout, &[7; MAX_PAYLOAD]);
        }
        let keep_from = MAX_PAYLOAD as u64 * 3 + 5;
        ring.trim(keep_from);
        assert_eq!(ring.start(), MAX_PAYLOAD as u64 * 3);
        ring.trim(ring.end());
        assert_eq!((ring.start(), ring.at(ring.end())), (MAX_PAYLOAD as u64 * 10, None));
    }
}
