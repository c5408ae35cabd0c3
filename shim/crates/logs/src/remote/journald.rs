//! Docker's `journald`: the native protocol of systemd's journal.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. A message is one datagram of fields, each `NAME=value` and a newline or, where the
//! value has newlines, the name, a newline, the value's length as 64 bits, little-endian, the value and a newline. A message that is too long
//! for a datagram goes as a sealed memfd.

use std::{io, os::fd::OwnedFd, path::Path};

use davit_stdio::LogDetails;
use jiff::Timestamp;
use rustix::fs::{MemfdFlags, SealFlags};

use super::{Address, Connection, Driver, Identity, Remote, Retry, driver::short};
use crate::{
    Source,
    file::json::Stamp,
    record::{RandomId, Record},
};

/// Where the journal listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Journald {
    /// The fields that every message has, encoded.
    fields: Vec<u8>,
    /// Counts messages from 1.
    ordinal: u64,
    stamp: Stamp,
}

impl Journald {
    /// A driver that sends to the journal at `socket`.
    pub fn new(socket: &Path, identity: &Identity, details: &LogDetails) -> Remote<Self> {
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", short(&identity.id)),
            ("CONTAINER_ID_FULL", &identity.id),
            ("CONTAINER_NAME", &details.name),
            ("CONTAINER_TAG", &identity.tag),
            ("IMAGE_NAME", &details.image),
            ("SYSLOG_IDENTIFIER", &identity.tag),
            // Tells the ordinals of one run of a container from those of another.
            ("CONTAINER_LOG_EPOCH", &RandomId::new().to_string()),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        for (name, value) in &details.attributes {
            let name = field_name(name);
            if !name.is_empty() {
                field(&mut fields, &name, value.as_bytes());
            }
        }
        let driver = Self {
            fields,
            ordinal: 0,
            stamp: Stamp::default(),
        };
        Remote::new(driver, vec![Address::Unixgram(socket.into())], Retry::PATIENT)
    }

    fn time(&mut self, time: Timestamp) -> &[u8] {
        self.stamp.of(time).as_bytes()
    }
}

impl Driver for Journald {
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>) {
        let priority = match record.source {
            Source::Stdout => b"6",
            Source::Stderr => b"3",
        };
        field(message, "PRIORITY", priority);
        field(message, "MESSAGE", &record.line);
        field(message, "SYSLOG_TIMESTAMP", self.time(record.time));
        message.extend_from_slice(&self.fields);
        if let Some(partial) = record.partial {
            field(message, "CONTAINER_PARTIAL_ID", partial.id.to_string().as_bytes());
            field(
                message,
                "CONTAINER_PARTIAL_ORDINAL",
                partial.ordinal.to_string().as_bytes(),
            );
            field(message, "CONTAINER_PARTIAL_LAST", partial.last.to_string().as_bytes());
            if !partial.last {
                field(message, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        self.ordinal += 1;
        field(message, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
    }

    async fn send(&mut self, connection: &mut Connection, message: &[u8]) -> io::Result<()> {
        match connection.send(message).await {
            Err(error) if super::is_too_long(&error) => connection.send_descriptor(sealed(message)?).await,
            outcome => outcome,
        }
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A name as the journal takes it, as Docker makes it: capitals, digits and underscores, none of those in front, at most 64.
/// The journal drops a field whose name begins with a digit; here that stands behind a prefix.
fn field_name(name: &str) -> String {
    let capital = |c: char| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    };
    let name: String = name.chars().map(capital).collect();
    let name = name.trim_start_matches('_');
    let prefix = if name.starts_with(|c: char| c.is_ascii_digit()) {
        "ATTR_"
    } else {
        ""
    };
    prefix.chars().chain(name.chars()).take(64).collect()
}

/// A file in memory that nobody can change any more: the journal takes no other.
fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(file);
    io::Write::write_all(&mut file, bytes)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Partial;

    fn message(line: &[u8], partial: Option<Partial>) -> Vec<u8> {
        let identity = Identity {
            id: "0123456789abcdef".into(),
            tag: "tag".into(),
            host: "host".into(),
        };
        let details = LogDetails {
            name: "web".into(),
            image: "busybox".into(),
            attributes: [("_com.example", "a\nb"), ("__", "x")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..LogDetails::default()
        };
        let record = Record {
            source: Source::Stderr,
            time: Timestamp::UNIX_EPOCH,
            line: line.into(),
            partial,
        };
        let mut message = Vec::new();
        Journald::new(Path::new("/x"), &identity, &details)
            .driver
            .encode(&record, &mut message);
        message
    }

    #[test]
    fn a_message_has_dockers_fields() {
        let message = message(b"hi", None);
        let (before, rest) = message.split_at(message.windows(10).position(|part| part == b"_LOG_EPOCH").unwrap());
        let expected = "PRIORITY=3\nMESSAGE=hi\nSYSLOG_TIMESTAMP=1970-01-01T00:00:00Z\nCONTAINER_ID=0123456789ab\n\
            CONTAINER_ID_FULL=0123456789abcdef\nCONTAINER_NAME=web\nCONTAINER_TAG=tag\nIMAGE_NAME=busybox\n\
            SYSLOG_IDENTIFIER=tag\nCONTAINER";
        assert_eq!(String::from_utf8_lossy(before), expected);
        let after = rest.split_at("_LOG_EPOCH=".len() + 65).1;
        assert_eq!(after, b"COM_EXAMPLE\n\x03\0\0\0\0\0\0\0a\nb\nCONTAINER_LOG_ORDINAL=1\n");
    }

    #[test]
    fn a_piece_of_a_line_says_where_it_belongs() {
        let id = RandomId::new();
        let piece = |last| Partial { id, ordinal: 2, last };
        let first = String::from_utf8(message(b"x", Some(piece(false)))).unwrap();
        let place = format!("CONTAINER_PARTIAL_ID={id}\nCONTAINER_PARTIAL_ORDINAL=2\nCONTAINER_PARTIAL_LAST=");
        assert!(
            first.contains(&format!("{place}false\nCONTAINER_PARTIAL_MESSAGE=true\n")),
            "{first}"
        );
        let last = String::from_utf8(message(b"x", Some(piece(true)))).unwrap();
        assert!(last.contains(&format!("{place}true\nCONTAINER_LOG_ORDINAL")), "{last}");
    }

    #[test]
    fn names_become_those_that_the_journal_takes() {
        for (name, expected) in [
            ("com.example.some-label", "COM_EXAMPLE_SOME_LABEL"),
            ("__x1", "X1"),
            ("1x", "ATTR_1X"),
            ("_12-factor", "ATTR_12_FACTOR"),
            ("\u{e4}b", "B"),
            ("___", ""),
        ] {
            assert_eq!(field_name(name), expected);
        }
    }
}
