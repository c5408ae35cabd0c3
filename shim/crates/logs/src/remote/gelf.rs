//! Docker's `gelf`: GELF 1.1, over UDP in chunks and compressed, or over TCP with a zero byte behind each message.
//!
//! <https://go2docs.graylog.org/current/getting_in_log_data/gelf.html>. Beside the mandatory fields a message has `timestamp` to the
//! millisecond, `level`, and the container's details and attributes with an underscore before their names.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use davit_stdio::LogDetails;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};

use super::{Address, Connection, Driver, Identity, Remote, Retry, TooLong};
use crate::{
    InvalidOption, Source,
    file::json::{escape, object},
    options::Options,
    record::{RandomId, Record},
};

/// The largest datagram, in bytes: what a frame of Ethernet carries whatever the tunnels on its way.
const DATAGRAM: usize = 1420;

/// Magic bytes, the message's id, the chunk's number and how many there are.
const CHUNK_HEADER: usize = 12;

/// More chunks no receiver takes.
const MOST_CHUNKS: usize = 128;

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp(Packing),
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Gzip(Compression),
    Zlib(Compression),
    None,
}

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Gelf {
    transport: Transport,
    /// `{"version":…,"host":…,` up to the text.
    head: Vec<u8>,
    /// The additional fields, with a comma before them, and `}`.
    tail: Vec<u8>,
}

impl Gelf {
    /// Reads the options.
    pub fn from_options(
        options: &mut Options,
        identity: &Identity,
        details: &LogDetails,
    ) -> Result<Remote<Self>, InvalidOption> {
        let name = "gelf-address";
        let address = options.parsed(name, "udp://HOST:PORT or tcp://HOST:PORT", |text| {
            Address::parse(text, None).filter(|address| matches!(address, Address::Udp(_) | Address::Tcp(_)))
        })?;
        let Some(address) = address else {
            return Err(InvalidOption::Missing {
                name,
                expected: "udp://HOST:PORT or tcp://HOST:PORT",
            });
        };
        let (transport, retry) = match address {
            Address::Udp(_) => (Transport::Udp(packing(options)?), Retry::PATIENT),
            _ => (Transport::Tcp, retry(options)?),
        };
        let driver = Self {
            transport,
            head: head(&identity.host),
            tail: tail(identity, details),
        };
        Ok(Remote::new(driver, vec![address], retry))
    }
}

impl Driver for Gelf {
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>) {
        if record.line.is_empty() {
            return;
        }
        let level = match record.source {
            Source::Stdout => 6,
            Source::Stderr => 3,
        };
        message.extend_from_slice(&self.head);
        escape(message, &record.line);
        let milliseconds = record.time.as_millisecond();
        let (seconds, fraction) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
        write!(message, "\",\"timestamp\":{seconds}.{fraction:03},\"level\":{level}")
            .expect("writing to a Vec cannot fail");
        message.extend_from_slice(&self.tail);
        match self.transport {
            Transport::Tcp => message.push(0),
            Transport::Udp(packing) => *message = packing.pack(std::mem::take(message)),
        }
    }

    async fn send(&mut self, connection: &mut Connection, message: &[u8]) -> io::Result<()> {
        if self.transport == Transport::Tcp || message.len() <= DATAGRAM {
            return connection.send(message).await;
        }
        for chunk in chunks(message)? {
            connection.send(&chunk).await?;
        }
        Ok(())
    }
}

impl Packing {
    fn pack(self, message: Vec<u8>) -> Vec<u8> {
        const NEVER_FAILS: &str = "writing to a Vec cannot fail";
        match self {
            Self::None => message,
            Self::Gzip(level) => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(&message).expect(NEVER_FAILS);
                encoder.finish().expect(NEVER_FAILS)
            }
            Self::Zlib(level) => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(&message).expect(NEVER_FAILS);
                encoder.finish().expect(NEVER_FAILS)
            }
        }
    }
}

fn chunks(message: &[u8]) -> io::Result<impl Iterator<Item = Vec<u8>>> {
    let pieces = message.chunks(DATAGRAM - CHUNK_HEADER);
    let count = u8::try_from(pieces.len())
        .ok()
        .filter(|count| usize::from(*count) <= MOST_CHUNKS);
    let count = count.ok_or_else(|| io::Error::other(TooLong))?;
    let id = RandomId::new().short();
    Ok((0..count)
        .zip(pieces)
        .map(move |(number, piece)| [&[0x1e, 0x0f], &id[..], &[number, count], piece].concat()))
}

fn packing(options: &mut Options) -> Result<Packing, InvalidOption> {
    let level = options.parsed("gelf-compression-level", "a number from -1 to 9", |text| match text {
        "-1" => Some(Compression::default()),
        _ => text.parse().ok().filter(|level| *level < 10).map(Compression::new),
    })?;
    let level = level.unwrap_or(Compression::fast());
    let packing = options.parsed("gelf-compression-type", "gzip, zlib or none", |text| match text {
        "gzip" => Some(Packing::Gzip(level)),
        "zlib" => Some(Packing::Zlib(level)),
        "none" => Some(Packing::None),
        _ => None,
    })?;
    Ok(packing.unwrap_or(Packing::Gzip(level)))
}

fn retry(options: &mut Options) -> Result<Retry, InvalidOption> {
    let expected = "a number of 0 or more";
    let attempts = options.parsed("gelf-tcp-max-reconnect", expected, |text| text.parse().ok())?;
    let seconds = options.parsed("gelf-tcp-reconnect-delay", "a number of seconds", |text| {
        text.parse::<u32>().ok()
    })?;
    let pause = Duration::from_secs(seconds.unwrap_or(1).into());
    Ok(Retry {
        attempts: attempts.unwrap_or(3),
        pause,
        growth: 1.0,
        longest: pause.max(Duration::from_millis(100)),
    })
}

fn head(host: &str) -> Vec<u8> {
    let mut head = b"{\"version\":\"1.1\",\"host\":\"".to_vec();
    escape(&mut head, host.as_bytes());
    head.extend_from_slice(b"\",\"short_message\":\"");
    head
}

fn tail(identity: &Identity, details: &LogDetails) -> Vec<u8> {
    let facts = [
        ("_container_id", &identity.id),
        ("_container_name", &details.name),
        ("_image_id", &details.image_id),
        ("_image_name", &details.image),
        ("_command", &details.command),
        ("_tag", &identity.tag),
        ("_created", &details.created),
    ];
    let facts = facts.into_iter().map(|(key, value)| (key.to_owned(), value.clone()));
    let attributes = details
        .attributes
        .iter()
        .map(|(key, value)| match key.strip_prefix('_') {
            Some(_) => (key.clone(), value.clone()),
            None => (format!("_{key}"), value.clone()),
        });
    let fields: BTreeMap<_, _> = facts.chain(attributes).collect();
    let mut text = Vec::new();
    object(&mut text, &fields);
    // The object's brace makes room for the comma.
    text[0] = b',';
    text
}

#[cfg(test)]
mod tests;
