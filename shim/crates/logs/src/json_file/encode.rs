//! One record as bytes.
//!
//! The escapes are those of Docker's own writer, so that the files are equal byte for byte: beside what JSON needs, `<`, `>` and
//! `&` and the two Unicode line separators are escaped, and bytes that are not UTF-8 become U+FFFD.

use std::io::Write;

use jiff::{Timestamp, fmt::strtime};

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

/// Appends `{"log":…,"stream":…,"time":…}` and a newline.
pub fn record(out: &mut Vec<u8>, text: &[u8], stream: &str, time: &str) {
    out.reserve(text.len() + 80);
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, text);
    write!(out, "\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}").expect("writing to a Vec cannot fail");
    out.push(b'\n');
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape_str(out, chunk.valid());
        // One U+FFFD per byte, as Go decodes.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
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

    #[test]
    fn a_record_is_one_line_that_any_json_reader_takes() {
        let mut out = Vec::new();
        record(&mut out, b"hi\n", "stdout", "T");
        assert_eq!(out, b"{\"log\":\"hi\\n\",\"stream\":\"stdout\",\"time\":\"T\"}\n");
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["log"], "hi\n");
    }
}
