//! Docker's json-file: one object per line with the fields `log`, `stream`, `attrs` where there are any, and `time`.
//!
//! The escapes are those of Docker's own writer, so that the files are equal byte for byte: beside what JSON needs, `<`, `>` and
//! `&` and the two Unicode line separators are escaped, and bytes that are not UTF-8 become U+FFFD.

use std::collections::BTreeMap;

use jiff::{Timestamp, fmt::strtime};

use crate::record::Record;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Formats times. Most records of a batch share theirs.
#[derive(Debug, Default)]
pub struct Stamp {
    time: Option<Timestamp>,
    text: String,
}

impl Stamp {
    /// RFC 3339 in UTC with nanoseconds and without trailing zeros, as Go prints it.
    pub fn of(&mut self, time: Timestamp) -> &str {
        if self.time != Some(time) {
            self.time = Some(time);
            self.text = text_of(time);
        }
        &self.text
    }
}

fn text_of(time: Timestamp) -> String {
    let mut text = strtime::format("%Y-%m-%dT%H:%M:%S%.fZ", time).expect("the format has no zone's name");
    // A whole second has no fraction.
    if time.subsec_nanosecond() == 0 {
        text = text.replace(".0Z", "Z");
    }
    text
}

/// Writes records.
#[derive(Debug)]
pub struct JsonFormat {
    /// `"attrs":{…},`, or nothing.
    attributes: Vec<u8>,
    stamp: Stamp,
}

impl JsonFormat {
    pub fn new(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        if !attributes.is_empty() {
            text.extend_from_slice(b"\"attrs\":");
            object(&mut text, attributes);
            text.push(b',');
        }
        Self {
            attributes: text,
            stamp: Stamp::default(),
        }
    }

    /// Appends an object and a newline.
    pub fn encode(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        out.reserve(record.line.len() + self.attributes.len() + 80);
        out.extend_from_slice(b"{\"log\":\"");
        escape(out, &record.line);
        if record.ends_line() {
            out.extend_from_slice(b"\\n");
        }
        out.extend_from_slice(b"\",\"stream\":\"");
        out.extend_from_slice(record.source.name().as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.attributes);
        out.extend_from_slice(b"\"time\":\"");
        out.extend_from_slice(self.stamp.of(record.time).as_bytes());
        out.extend_from_slice(b"\"}\n");
    }
}

/// Appends a JSON object of texts.
pub fn object(out: &mut Vec<u8>, entries: &BTreeMap<String, String>) {
    out.push(b'{');
    for (number, (key, value)) in entries.iter().enumerate() {
        out.extend_from_slice(if number == 0 { b"\"" } else { b",\"" });
        escape(out, key.as_bytes());
        out.extend_from_slice(b"\":\"");
        escape(out, value.as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// Appends a text without its quotes.
pub fn escape(out: &mut Vec<u8>, text: &[u8]) {
    // Most lines are.
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        escape_str(out, chunk.valid());
        // One U+FFFD per byte, as Go decodes.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Whether it is ASCII of which nothing is escaped. Looks at all of it, many bytes at once.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: u8| matches!(byte, 0x20..0x80) & !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&');
    text.iter().fold(true, |all, byte| all & plain(*byte))
}

fn escape_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    let mut at = 0;
    while at < bytes.len() {
        let (escape, length) = match bytes[at] {
            b'"' => ("\\\"", 1),
            b'\\' => ("\\\\", 1),
            b'\n' => ("\\n", 1),
            b'\r' => ("\\r", 1),
            0..0x20 | b'<' | b'>' | b'&' => ("", 1),
            0xe2 if bytes[at..].starts_with("\u{2028}".as_bytes()) => ("\\u2028", 3),
            0xe2 if bytes[at..].starts_with("\u{2029}".as_bytes()) => ("\\u2029", 3),
            _ => {
                at += 1;
                continue;
            }
        };
        out.extend_from_slice(&bytes[plain_from..at]);
        if escape.is_empty() {
            let byte = usize::from(bytes[at]);
            out.extend_from_slice(b"\\u00");
            out.extend([HEX[byte >> 4], HEX[byte & 15]]);
        } else {
            out.extend_from_slice(escape.as_bytes());
        }
        at += length;
        plain_from = at;
    }
    out.extend_from_slice(&bytes[plain_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Partial, RandomId, Source};

    fn check(text: &[u8], expected: &str) {
        let mut out = Vec::new();
        escape(&mut out, text);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn text_is_escaped_as_docker_escapes_it() {
        check(b"plain \xc3\xa4", "plain \u{e4}");
        check(
            b"a\"b\\c\n\r\t\x1b[0m<&>\x7f",
            "a\\\"b\\\\c\\n\\r\\u0009\\u001b[0m\\u003c\\u0026\\u003e\x7f",
        );
        check(b"\xff\xe2\x82x", "\\ufffd\\ufffd\\ufffdx");
        check("\u{2028}\u{2029}\u{20ac}".as_bytes(), "\\u2028\\u2029\u{20ac}");
    }

    #[test]
    fn times_are_printed_as_go_prints_them() {
        let mut stamp = Stamp::default();
        let time = |nanos| Timestamp::new(1_700_000_000, nanos).unwrap();
        assert_eq!(stamp.of(time(123_456_780)), "2023-11-14T22:13:20.12345678Z");
        assert_eq!(stamp.of(time(0)), "2023-11-14T22:13:20Z");
        assert_eq!(stamp.of(time(1)), "2023-11-14T22:13:20.000000001Z");
    }

    fn encoded(attributes: &[(&str, &str)], record: &Record<'_>) -> String {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut out = Vec::new();
        JsonFormat::new(&attributes.iter().map(own).collect()).encode(&mut out, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_is_one_line_as_docker_writes_it() {
        let mut record = Record {
            source: Source::Stdout,
            time: Timestamp::UNIX_EPOCH,
            line: b"hi"[..].into(),
            partial: None,
        };
        let time = "\"time\":\"1970-01-01T00:00:00Z\"}\n";
        let plain = format!("{{\"log\":\"hi\\n\",\"stream\":\"stdout\",{time}");
        assert_eq!(encoded(&[], &record), plain);
        let attributes = [("tag", "t"), ("a\"b", "<\u{e4}>")];
        let attrs = "\"attrs\":{\"a\\\"b\":\"\\u003c\u{e4}\\u003e\",\"tag\":\"t\"}";
        record.source = Source::Stderr;
        let with_attributes = encoded(&attributes, &record);
        assert_eq!(
            with_attributes,
            format!("{{\"log\":\"hi\\n\",\"stream\":\"stderr\",{attrs},{time}")
        );
        let value: serde_json::Value = serde_json::from_str(&with_attributes).unwrap();
        assert_eq!(
            (&value["log"], &value["attrs"]["a\"b"]),
            (&"hi\n".into(), &"<\u{e4}>".into())
        );
        record.partial = Some(Partial {
            id: RandomId::new(),
            ordinal: 1,
            last: false,
        });
        assert_eq!(
            encoded(&[], &record),
            format!("{{\"log\":\"hi\",\"stream\":\"stderr\",{time}")
        );
    }
}
