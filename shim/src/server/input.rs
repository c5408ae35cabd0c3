//! Bytes from a client, cut into messages.

use ttrpc::proto::MESSAGE_LENGTH_MAX;

use super::frame::{HEADER, Header, Kind};

/// Bytes that make no whole message yet.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// How many bytes of a message that is too long are still to come.
    skip: usize,
}

/// What a client has said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A whole message.
    Message(u32, Kind, Vec<u8>),
    /// One that is too long: its stream, and its length in bytes.
    TooLong(u32, usize),
}

impl Input {
    /// From what was left of another.
    pub fn new(bytes: Vec<u8>, skip: usize) -> Self {
        Self { bytes, skip }
    }

    /// What is left, and how much more is to be skipped.
    pub fn left(&self) -> (&[u8], usize) {
        (&self.bytes, self.skip)
    }

    /// Adds bytes as they came, and returns what they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Said> {
        let skipped = bytes.len().min(self.skip);
        self.skip -= skipped;
        self.bytes.extend_from_slice(&bytes[skipped..]);
        let mut said = Vec::new();
        let mut start = 0;
        while let Some(header) = self.bytes[start..].first_chunk::<HEADER>().map(Header::parse) {
            let rest = &self.bytes[start + HEADER..];
            if header.length > MESSAGE_LENGTH_MAX {
                let here = rest.len().min(header.length);
                self.skip = header.length - here;
                start += HEADER + here;
                said.push(Said::TooLong(header.stream, header.length));
                continue;
            }
            let Some(payload) = rest.get(..header.length) else {
                break;
            };
            said.push(Said::Message(header.stream, header.kind, payload.to_vec()));
            start += HEADER + header.length;
        }
        if start == self.bytes.len() {
            // An idle client holds no memory.
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..start);
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32, stream: u32, payload: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], &stream.to_be_bytes(), &[1, 0], payload].concat()
    }

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let bytes = [message(3, 1, b"abc"), message(0, 3, b""), message(2, 5, b"de")].concat();
        let whole = |stream, payload: &[u8]| Said::Message(stream, Kind::Request, payload.to_vec());
        let expected = [whole(1, b"abc"), whole(3, b""), whole(5, b"de")];
        assert_eq!(Input::default().push(&bytes), expected);
        for size in 1..bytes.len() {
            let mut input = Input::default();
            let said: Vec<_> = bytes.chunks(size).flat_map(|chunk| input.push(chunk)).collect();
            assert_eq!(said, expected);
            assert_eq!(input.left(), (&[][..], 0));
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_skipped_and_the_next_one_is_read() {
        let length = MESSAGE_LENGTH_MAX + 7;
        let bytes = [message(length as u32, 1, &vec![9; length]), message(1, 3, b"x")].concat();
        for size in [1000, bytes.len()] {
            let mut input = Input::default();
            let said: Vec<_> = bytes.chunks(size).flat_map(|chunk| input.push(chunk)).collect();
            assert_eq!(
                said,
                [Said::TooLong(1, length), Said::Message(3, Kind::Request, b"x".to_vec())]
            );
        }
    }

    #[test]
    fn what_is_left_goes_on_in_another() {
        let bytes = [
            message(3, 1, b"abc"),
            message((MESSAGE_LENGTH_MAX + 1) as u32, 3, b"zz"),
        ]
        .concat();
        let mut first = Input::default();
        first.push(&bytes[..5]);
        let (left, skip) = first.left();
        let mut second = Input::new(left.to_vec(), skip);
        assert_eq!(second.push(&bytes[5..]).len(), 2);
        let (left, skip) = second.left();
        assert_eq!((left, skip), (&[][..], MESSAGE_LENGTH_MAX - 1));
    }
}
