use rmpv::Value;

use super::*;
use crate::{Source, record::Partial};

fn fluentd(options: &[(&str, &str)]) -> Result<(Remote<Fluentd>, Reach), InvalidOption> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let identity = Identity {
        id: "0123456789abcdef".into(),
        tag: "tag".into(),
        host: "host".into(),
    };
    let details = LogDetails {
        name: "web".into(),
        attributes: [own(&("label", "l"))].into(),
        ..LogDetails::default()
    };
    let mut options = Options::new(&options.iter().map(own).collect());
    let opened = Fluentd::from_options(&mut options, &identity, &details)?;
    options.finish("fluentd")?;
    Ok(opened)
}

fn record(line: &[u8]) -> Record<'_> {
    Record {
        source: Source::Stdout,
        time: Timestamp::new(1_700_000_000, 5).unwrap(),
        line: line.into(),
        partial: None,
    }
}

fn message(options: &[(&str, &str)], record: &Record<'_>) -> Vec<Value> {
    let mut message = Vec::new();
    fluentd(options).unwrap().0.driver.encode(record, &mut message);
    let mut rest = &message[..];
    let Value::Array(parts) = rmpv::decode::read_value(&mut rest).unwrap() else {
        panic!("no array")
    };
    assert!(rest.is_empty());
    parts
}

fn field<'a>(record: &'a Value, name: &str) -> &'a Value {
    let entries = record.as_map().unwrap();
    &entries.iter().find(|(key, _)| key.as_str() == Some(name)).unwrap().1
}

#[test]
fn a_message_is_tag_time_record_and_option() {
    let mut bytes = Vec::new();
    fluentd(&[]).unwrap().0.driver.encode(&record(b"hi"), &mut bytes);
    let expected = b"\x94\xa3tag\xce\x65\x53\xf1\x00\x85\
        \xaccontainer_id\xb00123456789abcdef\xaecontainer_name\xa4/web\xa5label\xa1l\xa3log\xa2hi\xa6source\xa6stdout\x80";
    assert_eq!(bytes, expected);
}

#[test]
fn precise_times_are_extensions_and_chunks_are_asked_to_be_acknowledged() {
    let options = [
        ("fluentd-sub-second-precision", "true"),
        ("fluentd-request-ack", "true"),
    ];
    let parts = message(&options, &record(b"hi"));
    assert_eq!(parts[1], Value::Ext(0, vec![0x65, 0x53, 0xf1, 0, 0, 0, 0, 5]));
    assert_eq!(field(&parts[3], "chunk").as_str().unwrap().len(), 64);
}

#[test]
fn a_piece_of_a_line_says_where_it_belongs_and_bytes_stay_as_they_are() {
    let mut piece = record(b"\xff\x00");
    let id = RandomId::new();
    piece.partial = Some(Partial {
        id,
        ordinal: 2,
        last: true,
    });
    let parts = message(&[], &piece);
    assert_eq!(field(&parts[2], "partial_message").as_str(), Some("true"));
    assert_eq!(field(&parts[2], "partial_id").as_str(), Some(id.to_string().as_str()));
    assert_eq!(field(&parts[2], "partial_ordinal").as_str(), Some("2"));
    assert_eq!(field(&parts[2], "partial_last").as_str(), Some("true"));
    let Value::String(line) = field(&parts[2], "log") else {
        panic!("no text")
    };
    assert_eq!(line.as_bytes(), b"\xff\x00");
}

#[test]
fn options_have_dockers_defaults_and_limits() {
    let (remote, reach) = fluentd(&[]).unwrap();
    assert_eq!(remote.addresses[0].to_string(), "tcp://127.0.0.1:24224");
    assert_eq!((reach, remote.retry.attempts), (Reach::AtStart, i32::MAX as u32));
    let options = [
        ("fluentd-address", "h"),
        ("fluentd-async", "1"),
        ("fluentd-buffer-limit", "2m"),
        ("fluentd-max-retries", "3"),
        ("fluentd-retry-wait", "200ms"),
        ("fluentd-write-timeout", "0"),
        ("fluentd-read-timeout", "5s"),
    ];
    let (remote, reach) = fluentd(&options).unwrap();
    assert_eq!(remote.addresses[0].to_string(), "tcp://h:24224");
    assert_eq!((reach, remote.retry.attempts), (Reach::Later { buffer: 2 << 20 }, 3));
    assert_eq!(remote.retry.pause(2), Duration::from_millis(450));
    let timeouts = remote.driver.timeouts;
    assert_eq!((timeouts.write, timeouts.read), (None, Some(Duration::from_secs(5))));
    for (option, expected) in [
        (("fluentd-address", "tls://h"), "tls is not supported"),
        (("fluentd-address", "tcp://h:1/p"), "expected [tcp://]HOST[:PORT]"),
        (
            ("fluentd-max-retries", "2147483648"),
            "expected a number from 0 to 2147483647",
        ),
        (("fluentd-retry-wait", "1"), "expected a duration"),
        (("fluentd-tag", "x"), "unknown log option \"fluentd-tag\" for fluentd"),
    ] {
        let text = fluentd(&[option]).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn no_pause_at_all_is_the_default_as_in_docker() {
    for (given, expected) in [("0", 1000), ("0s", 1000), ("", 1000), ("20ms", 20)] {
        let retry = fluentd(&[("fluentd-retry-wait", given)]).unwrap().0.retry;
        assert_eq!(retry.pause, Duration::from_millis(expected), "{given}");
    }
}
