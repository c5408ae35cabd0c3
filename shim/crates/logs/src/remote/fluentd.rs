//! Docker's `fluentd`: the Forward Protocol, version 1, in its message mode.
//!
//! <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>. A message is the array `[tag, time, record, option]` in
//! MessagePack; the time is in seconds or an EventTime with nanoseconds; the option `chunk` asks for `{"ack": chunk}` in return.

use std::{collections::BTreeMap, io, time::Duration};

use davit_stdio::LogDetails;
use jiff::Timestamp;
use rmp::encode;
use tokio::time;

use super::{Address, Connection, Driver, Identity, Remote, Retry, address::Host};
use crate::{
    InvalidOption,
    options::{Options, Units, size},
    record::{RandomId, Record},
};

const PORT: u16 = 24224;

/// An answer that is longer is none.
const LONGEST_ACK: usize = 256;

/// When the peer must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Or the container does not start.
    AtStart,
    /// Until it is, so many bytes of records wait for it, and others are dropped.
    Later { buffer: usize },
}

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Fluentd {
    tag: String,
    /// What every record has.
    fields: BTreeMap<String, String>,
    precise: bool,
    timeouts: Timeouts,
    /// The last message's chunk, where an acknowledgement is asked for.
    chunk: Option<String>,
}

/// `None`: for ever, or as long as any peer may take.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    write: Option<Duration>,
    read: Option<Duration>,
}

impl Fluentd {
    /// Reads the options.
    pub fn from_options(
        options: &mut Options,
        identity: &Identity,
        details: &LogDetails,
    ) -> Result<(Remote<Self>, Reach), InvalidOption> {
        let expected = "[tcp://]HOST[:PORT] or unix:///PATH of at most 107 bytes (tls is not supported)";
        let address = options.parsed("fluentd-address", expected, address)?;
        let address = address.unwrap_or_else(|| {
            Address::Tcp(Host {
                name: "127.0.0.1".into(),
                port: PORT,
            })
        });
        let retry = retry(options)?;
        let reach = reach(options)?;
        let acknowledged = options.truth("fluentd-request-ack")?.unwrap_or(false);
        let driver = Self {
            tag: identity.tag.clone(),
            fields: fields(identity, details),
            precise: options.truth("fluentd-sub-second-precision")?.unwrap_or(false),
            timeouts: Timeouts {
                write: timeout(options, "fluentd-write-timeout")?,
                read: timeout(options, "fluentd-read-timeout")?,
            },
            chunk: acknowledged.then(String::new),
        };
        Ok((Remote::new(driver, vec![address], retry), reach))
    }

    fn record<'a>(&'a self, record: &'a Record<'_>) -> BTreeMap<&'a str, Vec<u8>> {
        let mut entries: BTreeMap<&str, Vec<u8>> =
            [("source", record.source.name().into()), ("log", record.line.to_vec())].into();
        // An attribute wins over what has its name, as in Docker.
        entries.extend(
            self.fields
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone().into())),
        );
        if let Some(partial) = record.partial {
            entries.insert("partial_message", "true".into());
            entries.insert("partial_id", partial.id.to_string().into());
            entries.insert("partial_ordinal", partial.ordinal.to_string().into());
            entries.insert("partial_last", partial.last.to_string().into());
        }
        entries
    }

    fn time(&self, out: &mut Vec<u8>, time: Timestamp) {
        if self.precise {
            // EventTime: an extension of type 0 with seconds and nanoseconds, 32 bits each, big-endian.
            out.extend_from_slice(&[0xd7, 0x00]);
            out.extend_from_slice(&(time.as_second() as u32).to_be_bytes());
            out.extend_from_slice(&(time.subsec_nanosecond() as u32).to_be_bytes());
        } else {
            pack(encode::write_sint(out, time.as_second()));
        }
    }
}

impl Driver for Fluentd {
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>) {
        pack(encode::write_array_len(message, 4));
        pack(encode::write_str(message, &self.tag));
        self.time(message, record.time);
        let entries = self.record(record);
        pack(encode::write_map_len(message, entries.len() as u32));
        for (key, value) in entries {
            pack(encode::write_str(message, key));
            // Bytes that are no text stay as they are, as in Docker.
            pack(encode::write_str_len(message, value.len() as u32));
            message.extend_from_slice(&value);
        }
        pack(encode::write_map_len(message, u32::from(self.chunk.is_some())));
        if let Some(chunk) = &mut self.chunk {
            *chunk = RandomId::new().to_string();
            pack(encode::write_str(message, "chunk"));
            pack(encode::write_str(message, chunk));
        }
    }

    async fn send(&mut self, connection: &mut Connection, message: &[u8]) -> io::Result<()> {
        within(self.timeouts.write, connection.send(message)).await?;
        match &self.chunk {
            Some(chunk) => within(self.timeouts.read, acknowledged(connection, chunk)).await,
            None => Ok(()),
        }
    }
}

/// Reads the acknowledgement of a chunk.
async fn acknowledged(connection: &mut Connection, chunk: &str) -> io::Result<()> {
    let mut expected = Vec::new();
    pack(encode::write_map_len(&mut expected, 1));
    pack(encode::write_str(&mut expected, "ack"));
    pack(encode::write_str(&mut expected, chunk));
    let mut answer = Vec::new();
    while answer.len() < expected.len() && answer.len() < LONGEST_ACK {
        let mut bytes = [0; LONGEST_ACK];
        match connection.read(&mut bytes).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend_from_slice(&bytes[..length]),
        }
    }
    if answer == expected {
        Ok(())
    } else {
        Err(io::Error::other("the peer acknowledged another chunk"))
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match limit {
        Some(limit) => time::timeout(limit, work).await.map_err(|_| io::ErrorKind::TimedOut)?,
        None => work.await,
    }
}

fn pack<T>(written: Result<T, encode::ValueWriteError>) {
    written.expect("writing to a Vec cannot fail");
}

fn address(text: &str) -> Option<Address> {
    if !text.contains("://") {
        return Host::parse(text, Some(PORT)).map(Address::Tcp);
    }
    let address = Address::parse(text, Some(PORT))?;
    matches!(address, Address::Tcp(_) | Address::Unix(_)).then_some(address)
}

fn retry(options: &mut Options) -> Result<Retry, InvalidOption> {
    let expected = "a number from 0 to 2147483647";
    let attempts = options.parsed("fluentd-max-retries", expected, |text| {
        text.parse().ok().filter(|count| *count <= i32::MAX as u32)
    })?;
    // As in Docker, none at all means the default.
    let pause = options.duration("fluentd-retry-wait")?.filter(|pause| !pause.is_zero());
    Ok(Retry {
        // As in Docker: the container waits for as long as it takes, where nothing else is asked for.
        attempts: attempts.unwrap_or(i32::MAX as u32),
        pause: pause.unwrap_or(Duration::from_secs(1)),
        growth: 1.5,
        longest: Duration::from_secs(60),
    })
}

/// `fluentd-buffer-limit` is a number of bytes here: Docker counts records, which bounds nothing.
fn reach(options: &mut Options) -> Result<Reach, InvalidOption> {
    let is_async = options.truth("fluentd-async")?.unwrap_or(false);
    let expected = "a number of bytes, with k, m or g for units";
    let buffer = options.parsed("fluentd-buffer-limit", expected, |text| {
        usize::try_from(size(text, Units::Binary)?).ok()
    })?;
    let buffer = buffer.unwrap_or(1 << 20);
    Ok(if is_async {
        Reach::Later { buffer }
    } else {
        Reach::AtStart
    })
}

fn timeout(options: &mut Options, name: &'static str) -> Result<Option<Duration>, InvalidOption> {
    Ok(options.duration(name)?.filter(|limit| !limit.is_zero()))
}

fn fields(identity: &Identity, details: &LogDetails) -> BTreeMap<String, String> {
    let own = [
        ("container_id".to_owned(), identity.id.clone()),
        ("container_name".to_owned(), format!("/{}", details.name)),
    ];
    own.into_iter().chain(details.attributes.clone()).collect()
}

#[cfg(test)]
mod tests;
