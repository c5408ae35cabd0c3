//! Docker's way to send two streams over one connection.

use std::io;

use bytes::{Buf, Bytes, BytesMut};

/// Where a piece of output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes pieces off a buffer: the payloads of frames, or just what is there.
///
/// A frame is one byte of channel, three of nothing, a big-endian length, and the payload. Payloads are handed on as they
/// arrive, so that a frame's length costs no memory.
#[derive(Debug)]
pub struct Frames {
    raw: bool,
    channel: Channel,
    left: usize,
    failure: Option<BytesMut>,
}

impl Frames {
    /// A decoder; `raw` for the single stream of a terminal.
    pub fn new(raw: bool) -> Self {
        Self {
            raw,
            channel: Channel::Stdout,
            left: 0,
            failure: None,
        }
    }

    /// The next piece in the buffer, or nothing while more bytes are needed.
    pub fn take(&mut self, buffer: &mut BytesMut) -> io::Result<Option<(Channel, Bytes)>> {
        if self.raw {
            return Ok((!buffer.is_empty()).then(|| (Channel::Stdout, buffer.split().freeze())));
        }
        loop {
            if self.left > 0 && buffer.is_empty() {
                return Ok(None);
            }
            if self.left > 0 {
                let piece = buffer.split_to(self.left.min(buffer.len()));
                self.left -= piece.len();
                match &mut self.failure {
                    None => return Ok(Some((self.channel, piece.freeze()))),
                    Some(failure) => failure.extend_from_slice(&piece),
                }
            }
            if let Some(failure) = self.failure.take_if(|_| self.left == 0) {
                let text = String::from_utf8_lossy(&failure).into_owned();
                return Err(io::Error::other(format!("error from daemon in stream: {text}")));
            }
            if self.left == 0 && !self.header(buffer)? {
                return Ok(None);
            }
        }
    }

    /// Reads a header when it is complete.
    fn header(&mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        if buffer.len() < 8 {
            return Ok(false);
        }
        self.channel = match buffer[0] {
            0 | 1 => Channel::Stdout,
            2 | 3 => Channel::Stderr,
            other => return Err(io::Error::other(format!("unrecognized stream {other} in the output"))),
        };
        self.failure = (buffer[0] == 3).then(BytesMut::new);
        buffer.advance(4);
        self.left = buffer.get_u32() as usize;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames, bytes: &[u8], step: usize) -> Vec<(Channel, Vec<u8>)> {
        let mut buffer = BytesMut::new();
        let mut taken: Vec<(Channel, Vec<u8>)> = Vec::new();
        for chunk in bytes.chunks(step) {
            buffer.extend_from_slice(chunk);
            while let Some((channel, piece)) = frames.take(&mut buffer).unwrap() {
                match taken.last_mut() {
                    Some((last, text)) if *last == channel => text.extend_from_slice(&piece),
                    _ => taken.push((channel, piece.to_vec())),
                }
            }
        }
        taken
    }

    #[test]
    fn frames_are_parted_however_they_are_cut() {
        let bytes = b"\x01\0\0\0\0\0\0\x03out\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x03err";
        for step in 1..bytes.len() {
            let expected = vec![(Channel::Stdout, b"out".to_vec()), (Channel::Stderr, b"err".to_vec())];
            assert_eq!(all(&mut Frames::new(false), bytes, step), expected, "{step}");
        }
    }

    #[test]
    fn raw_bytes_pass_whatever_they_are() {
        assert_eq!(
            all(&mut Frames::new(true), b"\x01\0\xff", 2),
            vec![(Channel::Stdout, b"\x01\0\xff".to_vec())]
        );
    }

    #[test]
    fn an_error_of_the_daemon_and_an_unknown_stream_are_errors() {
        let take = |bytes: &[u8]| {
            Frames::new(false)
                .take(&mut BytesMut::from(bytes))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(take(b"\x03\0\0\0\0\0\0\x03bad"), "error from daemon in stream: bad");
        assert_eq!(take(b"\x09\0\0\0\0\0\0\x03bad"), "unrecognized stream 9 in the output");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_none_are_made_up(bytes in proptest::collection::vec(0u8..5, 0..64)) {
            let mut frames = Frames::new(false);
            let mut buffer = BytesMut::from(bytes.as_slice());
            let mut taken = 0;
            while let Ok(Some((_, piece))) = frames.take(&mut buffer) {
                taken += piece.len();
            }
            proptest::prop_assert!(taken <= bytes.len());
        }
    }
}
