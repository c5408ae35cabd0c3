use flate2::read::{GzDecoder, ZlibDecoder};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

fn gelf(options: &[(&str, &str)]) -> Result<Remote<Gelf>, InvalidOption> {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let identity = Identity {
        id: "0123456789abcdef".into(),
        tag: "tag".into(),
        host: "ho\"st".into(),
    };
    let details = LogDetails {
        name: "web".into(),
        image: "busybox".into(),
        image_id: "sha256:1".into(),
        command: "sh -c x".into(),
        created: "2026-01-01T00:00:00Z".into(),
        attributes: [("label", "l"), ("_own", "o")].iter().map(own).collect(),
    };
    let mut options = Options::new(&options.iter().map(own).collect());
    let remote = Gelf::from_options(&mut options, &identity, &details)?;
    options.finish("gelf")?;
    Ok(remote)
}

fn message(options: &[(&str, &str)], line: &str) -> Vec<u8> {
    let record = Record {
        source: Source::Stderr,
        time: Timestamp::new(1_700_000_000, 7_999_999).unwrap(),
        line: line.as_bytes().into(),
        partial: None,
    };
    let mut message = Vec::new();
    gelf(options).unwrap().driver.encode(&record, &mut message);
    message
}

#[test]
fn a_message_has_dockers_fields() {
    let mut bytes = message(&[("gelf-address", "tcp://h:1")], "a \"b\"");
    assert_eq!(bytes.pop(), Some(0));
    let start = "{\"version\":\"1.1\",\"host\":\"ho\\\"st\",\"short_message\":\"a \\\"b\\\"\",\"timestamp\":1700000000.007,\"level\":3,";
    assert!(
        bytes.starts_with(start.as_bytes()),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    let expected = json!({
        "version": "1.1", "host": "ho\"st", "short_message": "a \"b\"", "timestamp": 1700000000.007, "level": 3,
        "_container_id": "0123456789abcdef", "_container_name": "web", "_image_id": "sha256:1", "_image_name": "busybox",
        "_command": "sh -c x", "_tag": "tag", "_created": "2026-01-01T00:00:00Z", "_label": "l", "_own": "o",
    });
    assert_eq!(value, expected);
    assert!(message(&[("gelf-address", "tcp://h:1")], "").is_empty());
}

#[test]
fn datagrams_are_compressed_as_the_options_say() {
    let plain = message(&[("gelf-address", "udp://h:1"), ("gelf-compression-type", "none")], "x");
    for kind in ["gzip", "zlib", ""] {
        let packed = message(&[("gelf-address", "udp://h:1"), ("gelf-compression-type", kind)], "x");
        let mut unpacked = Vec::new();
        let read = match kind {
            "zlib" => io::Read::read_to_end(&mut ZlibDecoder::new(&packed[..]), &mut unpacked),
            _ => io::Read::read_to_end(&mut GzDecoder::new(&packed[..]), &mut unpacked),
        };
        read.unwrap();
        assert_eq!(unpacked, plain);
    }
}

#[test]
fn a_long_message_is_cut_into_chunks_and_one_that_is_too_long_is_refused() {
    let whole: Vec<u8> = (0..3000u32).map(|number| (number % 251) as u8).collect();
    let pieces: Vec<_> = chunks(&whole).unwrap().collect();
    let heads: Vec<_> = pieces.iter().map(|piece| (&piece[..2], piece[10], piece[11])).collect();
    assert_eq!(heads, [0, 1, 2].map(|number| (&[0x1e, 0x0f][..], number, 3)));
    assert!(
        pieces
            .iter()
            .all(|piece| piece[2..10] == pieces[0][2..10] && piece.len() <= DATAGRAM)
    );
    assert_eq!(
        pieces.iter().flat_map(|piece| piece[12..].to_vec()).collect::<Vec<_>>(),
        whole
    );
    let most = MOST_CHUNKS * (DATAGRAM - CHUNK_HEADER);
    assert_eq!(chunks(&vec![0; most]).unwrap().count(), MOST_CHUNKS);
    let refused = chunks(&vec![0; most + 1]).map(drop).unwrap_err();
    assert!(crate::remote::is_too_long(&refused));
}

#[test]
fn options_belong_to_their_transport() {
    let text = |options: &[(&str, &str)]| gelf(options).unwrap_err().to_string();
    let udp = ("gelf-address", "udp://h:1");
    let tcp = ("gelf-address", "tcp://h:1");
    assert_eq!(
        text(&[]),
        "log option gelf-address is missing: expected udp://HOST:PORT or tcp://HOST:PORT"
    );
    for (options, expected) in [
        (
            &[("gelf-address", "unix:///x")],
            "log option gelf-address=unix:///x: expected udp://HOST:PORT",
        ),
        (
            &[("gelf-address", "udp://h")],
            "log option gelf-address=udp://h: expected udp://HOST:PORT",
        ),
    ] {
        assert!(text(options).starts_with(expected));
    }
    for (options, expected) in [
        (&[udp, ("gelf-compression-type", "lz4")], "expected gzip, zlib or none"),
        (
            &[udp, ("gelf-compression-level", "10")],
            "expected a number from -1 to 9",
        ),
        (
            &[udp, ("gelf-tcp-max-reconnect", "1")],
            "unknown log option \"gelf-tcp-max-reconnect\" for gelf",
        ),
        (
            &[tcp, ("gelf-compression-type", "gzip")],
            "unknown log option \"gelf-compression-type\" for gelf",
        ),
        (
            &[tcp, ("gelf-tcp-reconnect-delay", "x")],
            "expected a number of seconds",
        ),
    ] {
        assert!(text(options).contains(expected), "{}", text(options));
    }
    let options = [tcp, ("gelf-tcp-max-reconnect", "7"), ("gelf-tcp-reconnect-delay", "2")];
    let retry = gelf(&options).unwrap().retry;
    assert_eq!((retry.attempts, retry.pause(5)), (7, Duration::from_secs(2)));
}
