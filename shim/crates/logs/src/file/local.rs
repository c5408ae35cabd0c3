//! Docker's `local`: a protobuf message per record, with its length as 32 bits, big-endian, before and behind it, so that a reader
//! can go either way.
//!
//! The message is `LogEntry` of moby's `api/types/plugins/logdriver/entry.proto`:
//! `source` (1, text), `time_nano` (2, int64), `line` (3, bytes), `partial` (4, bool),
//! `partial_log_metadata` (5: `last` 1, bool; `id` 2, text; `ordinal` 3, int32), `attrs` (6, repeated: `key` 1, `value` 2, texts).
//! As in proto3 everywhere, what is empty or zero is left out.

use std::collections::BTreeMap;

use crate::record::{Partial, Record};

/// Writes records.
#[derive(Debug)]
pub struct LocalFormat {
    /// All `attrs`, encoded.
    attributes: Vec<u8>,
}

impl LocalFormat {
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, key.as_bytes());
            bytes(&mut entry, 2, value.as_bytes());
            message(&mut encoded, 6, &entry);
        }
        Self { attributes: encoded }
    }

    pub fn encode(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        const LENGTH: usize = size_of::<u32>();
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH]);
        self.entry(out, record);
        let length = out.len() - start - LENGTH;
        // A line is at most 16 KiB and the attributes come from one URI: it fits.
        let length = (length as u32).to_be_bytes();
        out[start..start + LENGTH].copy_from_slice(&length);
        out.extend_from_slice(&length);
    }

    fn entry(&self, out: &mut Vec<u8>, record: &Record<'_>) {
        bytes(out, 1, record.source.name().as_bytes());
        // Times beyond the year 2262 do not fit, here as in Go.
        number(out, 2, record.time.as_nanosecond() as i64 as u64);
        bytes(out, 3, &record.line);
        if let Some(partial) = &record.partial {
            number(out, 4, 1);
            message(out, 5, &metadata(partial));
        }
        out.extend_from_slice(&self.attributes);
    }
}

fn metadata(partial: &Partial) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 1, partial.last.into());
    bytes(&mut out, 2, partial.id.to_string().as_bytes());
    number(&mut out, 3, partial.ordinal.into());
    out
}

/// A field with a variable-length number.
fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        out.push(field << 3);
        varint(out, value);
    }
}

/// A field with a text or bytes.
fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    if !value.is_empty() {
        message(out, field, value);
    }
}

/// A field with a message, which is there even if it is empty.
fn message(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Source, record::RandomId};

    fn encoded(attributes: &[(&str, &str)], record: &Record<'_>) -> Vec<u8> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut out = Vec::new();
        LocalFormat::new(&attributes.iter().map(own).collect()).encode(&mut out, record);
        out
    }

    fn record(line: &[u8]) -> Record<'_> {
        Record {
            source: Source::Stdout,
            time: Timestamp::from_nanosecond(300).unwrap(),
            line: line.into(),
            partial: None,
        }
    }

    #[test]
    fn an_entry_is_its_message_between_two_lengths() {
        let message = b"\x0a\x06stdout\x10\xac\x02\x1a\x02hi";
        let length = [0, 0, 0, message.len() as u8];
        assert_eq!(encoded(&[], &record(b"hi")), [&length, &message[..], &length].concat());
    }

    #[test]
    fn attributes_and_the_place_of_a_piece_are_messages_of_their_own() {
        let id = RandomId::new();
        let mut record = record(b"");
        record.partial = Some(Partial {
            id,
            ordinal: 2,
            last: true,
        });
        let metadata = [b"\x08\x01\x12\x40", id.to_string().as_bytes(), b"\x18\x02"].concat();
        let message = [
            b"\x0a\x06stdout\x10\xac\x02\x20\x01\x2a\x46",
            &metadata[..],
            b"\x32\x06\x0a\x01a\x12\x01b\x32\x03\x0a\x01c",
        ]
        .concat();
        let seen = encoded(&[("a", "b"), ("c", "")], &record);
        assert_eq!(seen[4..seen.len() - 4], message);
        assert_eq!(seen[..4], [0, 0, 0, message.len() as u8]);
    }

    #[test]
    fn numbers_of_any_size_are_encoded() {
        let check = |value, expected: &[u8]| {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, expected);
        };
        check(127, &[0x7f]);
        check(128, &[0x80, 1]);
        check(u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }
}
