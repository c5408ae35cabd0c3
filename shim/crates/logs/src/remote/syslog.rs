//! Docker's `syslog`: RFC 3164, RFC 5424 with times to the second or to the microsecond, or what a local syslog takes.
//!
//! As in Docker, the tag is APP-NAME and MSGID of RFC 5424, there is no structured data, and a newline ends each message whatever
//! the transport is. The time is that of the record, not that of sending.

use std::io::Write;

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use super::{Address, Driver, Identity, Remote, Retry};
use crate::{InvalidOption, Source, options::Options, record::Record};

const PORT: u16 = 514;

/// Where a local syslog may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// RFC 5424, section 6.2.1, in the order of their numbers; the last eight are local0 to local7, from 16 on.
const FACILITIES: [&str; 12] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
];

/// What stands before the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// RFC 3164 without the host's name.
    Local,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

/// Makes messages.
#[derive(Debug)]
pub(crate) struct Syslog {
    facility: u8,
    layout: Layout,
    identity: Identity,
    process: u32,
    zone: TimeZone,
}

impl Syslog {
    /// Reads the options.
    pub fn from_options(options: &mut Options, identity: Identity) -> Result<Remote<Self>, InvalidOption> {
        let expected = "udp://HOST[:PORT], tcp://HOST[:PORT], unix:///PATH or unixgram:///PATH of at most 107 bytes (tcp+tls is not supported)";
        let address = options.parsed("syslog-address", expected, |text| Address::parse(text, Some(PORT)))?;
        let expected = "a facility's name, such as daemon or local0, or its number from 0 to 23";
        let facility = options.parsed("syslog-facility", expected, facility)?;
        let expected = "rfc3164, rfc5424 or rfc5424micro";
        let layout = options.parsed("syslog-format", expected, |text| match text {
            "rfc3164" => Some(Layout::Rfc3164),
            "rfc5424" => Some(Layout::Rfc5424),
            "rfc5424micro" => Some(Layout::Rfc5424Micro),
            _ => None,
        })?;
        let driver = Self {
            facility: facility.unwrap_or(3),
            layout: layout.unwrap_or(Layout::Local),
            identity,
            process: std::process::id(),
            zone: TimeZone::system(),
        };
        let addresses = address.map_or_else(local, |address| vec![address]);
        Ok(Remote::new(driver, addresses, Retry::PATIENT))
    }

    fn time(&self, time: Timestamp) -> String {
        let format = match self.layout {
            Layout::Local | Layout::Rfc3164 => "%b %e %H:%M:%S",
            Layout::Rfc5424 => "%Y-%m-%dT%H:%M:%S%:z",
            Layout::Rfc5424Micro => "%Y-%m-%dT%H:%M:%S.%6f%:z",
        };
        let text = strtime::format(format, &time.to_zoned(self.zone.clone())).expect("the format is valid");
        // As Go prints it.
        text.strip_suffix("+00:00")
            .map_or(text.clone(), |utc| format!("{utc}Z"))
    }
}

impl Driver for Syslog {
    fn encode(&mut self, record: &Record<'_>, message: &mut Vec<u8>) {
        if record.line.is_empty() {
            return;
        }
        let severity = match record.source {
            Source::Stdout => 6,
            Source::Stderr => 3,
        };
        let priority = self.facility << 3 | severity;
        let Identity { tag, host, .. } = &self.identity;
        let (time, process) = (self.time(record.time), self.process);
        let head = match self.layout {
            Layout::Local => write!(message, "<{priority}>{time} {tag}[{process}]: "),
            Layout::Rfc3164 => write!(message, "<{priority}>{time} {host} {tag}[{process}]: "),
            Layout::Rfc5424 | Layout::Rfc5424Micro => {
                write!(message, "<{priority}>1 {time} {host} {tag} {process} {tag} - ")
            }
        };
        head.expect("writing to a Vec cannot fail");
        message.extend_from_slice(&record.line);
        message.push(b'\n');
    }
}

fn facility(text: &str) -> Option<u8> {
    if let Some(number) = FACILITIES.iter().position(|name| *name == text) {
        return u8::try_from(number).ok();
    }
    let number = match text.strip_prefix("local") {
        Some(local) => local.parse::<u8>().ok().filter(|local| *local < 8)? + 16,
        None => text.parse().ok()?,
    };
    (number < 24).then_some(number)
}

fn local() -> Vec<Address> {
    let datagrams = LOCAL.map(|path| Address::Unixgram(path.into()));
    let streams = LOCAL.map(|path| Address::Unix(path.into()));
    datagrams.into_iter().chain(streams).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(options: &[(&str, &str)], source: Source, line: &str) -> String {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let identity = Identity {
            id: "0123456789abcdef".into(),
            tag: "tag".into(),
            host: "host".into(),
        };
        let mut driver = Syslog::from_options(&mut Options::new(&options.iter().map(own).collect()), identity)
            .unwrap()
            .driver;
        driver.process = 7;
        driver.zone = TimeZone::UTC;
        let mut message = Vec::new();
        let record = Record {
            source,
            time: Timestamp::new(1_700_000_000, 123_456_789).unwrap(),
            line: line.as_bytes().into(),
            partial: None,
        };
        driver.encode(&record, &mut message);
        String::from_utf8(message).unwrap()
    }

    #[test]
    fn each_format_is_dockers() {
        for (format, expected) in [
            ("", "<30>Nov 14 22:13:20 tag[7]: hi\n"),
            ("rfc3164", "<30>Nov 14 22:13:20 host tag[7]: hi\n"),
            ("rfc5424", "<30>1 2023-11-14T22:13:20Z host tag 7 tag - hi\n"),
            (
                "rfc5424micro",
                "<30>1 2023-11-14T22:13:20.123456Z host tag 7 tag - hi\n",
            ),
        ] {
            assert_eq!(encoded(&[("syslog-format", format)], Source::Stdout, "hi"), expected);
        }
        assert_eq!(encoded(&[("syslog-format", "rfc5424")], Source::Stdout, ""), "");
    }

    #[test]
    fn facilities_have_names_and_numbers() {
        for (text, priority) in [
            ("kern", 3),
            ("ftp", 91),
            ("local0", 131),
            ("local7", 187),
            ("23", 187),
            ("0", 3),
        ] {
            let message = encoded(&[("syslog-facility", text)], Source::Stderr, "x");
            assert!(message.starts_with(&format!("<{priority}>")), "{message}");
        }
        for bad in ["24", "-1", "local8", "local-1", "x", "256"] {
            assert_eq!(facility(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_zone_has_its_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(-3));
        let identity = Identity {
            id: "i".into(),
            tag: "t".into(),
            host: "h".into(),
        };
        let mut driver = Syslog::from_options(&mut Options::new(&Default::default()), identity)
            .unwrap()
            .driver;
        driver.zone = zone;
        driver.layout = Layout::Rfc5424;
        assert_eq!(driver.time(Timestamp::UNIX_EPOCH), "1969-12-31T21:00:00-03:00");
        driver.layout = Layout::Local;
        assert_eq!(driver.time(Timestamp::UNIX_EPOCH), "Dec 31 21:00:00");
    }
}
