//! Drivers that write files.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use davit_integration_tests::wait::until_true;
use davit_shim_api::task_v3::shim::StateRequest;
use davit_stdio::LogDriver;
use prost::Message;
use serde_json::{Value, json};
use ttrpc::Code;

use super::{Log, ended};
use crate::{
    delete_request, kill_request,
    rig::{Rig, connect, soon},
    wait_request,
};

const THOUSAND_LINES: &str = "i=0; while [ $i -lt 1000 ]; do echo line-$i; i=$((i+1)); done";

fn records(text: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect()
}

fn logged(records: &[Value]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record["log"].as_str().expect("a text"))
        .collect()
}

fn unpacked(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[tokio::test]
async fn each_record_of_a_json_file_has_the_attributes_and_long_lines_are_cut() {
    let rig = Rig::new().await;
    let log = Log {
        driver: LogDriver::JsonFile,
        options: &[("tag", "web/c1")],
        attributes: &[("com.example.label", "a"), ("VAR", "\"b\"")],
    };
    let script = "echo out; echo err >&2; head -c 20000 /dev/zero | tr '\\0' x; echo";
    ended(&log.started(&rig, script).await).await;
    let records = records(&fs::read(Log::path(&rig)).expect("a log"));
    let attributes = json!({"com.example.label": "a", "VAR": "\"b\"", "tag": "web/c1"});
    assert!(
        records.iter().all(|record| record["attrs"] == attributes),
        "{records:?}"
    );
    let long = logged(&records).into_iter().filter(|text| text.starts_with('x'));
    let lengths: Vec<_> = long.map(|text| (text.len(), text.ends_with('\n'))).collect();
    assert_eq!(lengths, [(16384, false), (20000 - 16384 + 1, true)]);
}

#[tokio::test]
async fn full_files_are_kept_compressed_and_together_they_are_the_whole_log() {
    let rig = Rig::new().await;
    let log = Log {
        driver: LogDriver::JsonFile,
        options: &[("max-size", "40k"), ("max-file", "9"), ("compress", "true")],
        attributes: &[],
    };
    // In parts: who writes a file's worth faster than gzip takes it keeps files that are not compressed.
    let script = format!("for part in 1 2 3; do {THOUSAND_LINES}; sleep 0.3; done");
    ended(&log.started(&rig, &script).await).await;
    let current = Log::path(&rig);
    let numbered = |number: u32| current.with_file_name(format!("x.log.{number}"));
    until_true("the last rotated file is compressed", 10, || !numbered(1).exists());
    let mut all = Vec::new();
    for number in (1..9).rev() {
        let packed = current.with_file_name(format!("x.log.{number}.gz"));
        match fs::read(numbered(number)) {
            Ok(content) => all.extend(content),
            Err(_) if packed.exists() => all.extend(unpacked(&packed)),
            Err(_) => {}
        }
    }
    assert!(!all.is_empty(), "nothing was rotated");
    all.extend(fs::read(&current).expect("a log"));
    let records = records(&all);
    let expected: Vec<_> = (0..3000).map(|number| format!("line-{}\n", number % 1000)).collect();
    assert_eq!(logged(&records), expected);
}

#[tokio::test]
async fn in_non_blocking_mode_a_file_is_complete_where_the_buffer_holds_it() {
    let rig = Rig::new().await;
    let log = Log {
        driver: LogDriver::JsonFile,
        options: &[("mode", "non-blocking"), ("max-buffer-size", "8m")],
        attributes: &[],
    };
    ended(&log.started(&rig, THOUSAND_LINES).await).await;
    assert_eq!(records(&fs::read(Log::path(&rig)).expect("a log")).len(), 1000);
}

#[tokio::test]
async fn a_flood_of_output_leaves_the_shim_time_for_calls() {
    let rig = Rig::new().await;
    let log = Log {
        driver: LogDriver::JsonFile,
        options: &[("max-size", "1m")],
        attributes: &[],
    };
    let client = log.started(&rig, "tr '\\0' x < /dev/zero").await;
    let state = StateRequest {
        id: "c1".into(),
        ..Default::default()
    };
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let asked = Instant::now();
        client.state(soon(), &state).await.expect("a state");
        quickest = quickest.min(asked.elapsed());
    }
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
}

#[tokio::test]
async fn a_log_that_is_a_fifo_or_a_device_is_refused_by_name() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "true")).await;
    let log = Log {
        driver: LogDriver::JsonFile,
        options: &[],
        attributes: &[],
    };
    let fifo = Command::new("mkfifo").arg(Log::path(&rig)).status().expect("mkfifo");
    assert!(fifo.success());
    let (_, text) = log.refused(&rig, &client).await;
    assert!(text.contains("x.log: it is not a regular file"), "{text}");
    fs::remove_file(Log::path(&rig)).expect("a FIFO");
    std::os::unix::fs::symlink("/dev/null", Log::path(&rig)).expect("a link");
    let (_, text) = log.refused(&rig, &client).await;
    assert!(text.contains("x.log: it is not a regular file"), "{text}");
}

#[tokio::test]
async fn options_that_a_driver_does_not_know_are_refused_by_name() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "true")).await;
    for (driver, option, expected) in [
        (
            LogDriver::JsonFile,
            ("colour", "red"),
            "unknown log option \"colour\" for json-file: \
             expected compress, max-buffer-size, max-file, max-size, mode, tag",
        ),
        (
            LogDriver::None,
            ("max-size", "1k"),
            "unknown log option \"max-size\" for none: expected none",
        ),
        (
            LogDriver::JsonFile,
            ("max-size", "big"),
            "log option max-size=big: expected a number of bytes",
        ),
        (
            LogDriver::JsonFile,
            ("compress", "true"),
            "log option compress needs max-size",
        ),
        (
            LogDriver::JsonFile,
            ("max-buffer-size", "1m"),
            "log option max-buffer-size needs mode=non-blocking",
        ),
    ] {
        let log = Log {
            driver,
            options: &[option],
            attributes: &[],
        };
        let (code, text) = log.refused(&rig, &client).await;
        assert_eq!(code, Code::INVALID_ARGUMENT);
        assert!(text.contains(expected), "{text}");
    }
}

/// The fields of Docker's `LogEntry` that matter here.
#[derive(Clone, PartialEq, Message)]
struct LogEntry {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(bytes = "vec", tag = "3")]
    line: Vec<u8>,
    #[prost(map = "string, string", tag = "6")]
    attributes: HashMap<String, String>,
}

/// The lines of a local file, by the length before each entry; the length behind it must be the same.
fn local_lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (entry, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        let (behind, rest) = rest.split_first_chunk::<4>().expect("a second length");
        assert_eq!(behind, length);
        let entry = LogEntry::decode(entry).expect("an entry");
        assert_eq!((entry.source.as_str(), entry.attributes["k"].as_str()), ("stdout", "v"));
        lines.push(entry.line);
        bytes = rest;
    }
    lines
        .into_iter()
        .map(|line| String::from_utf8(line).expect("a text"))
        .collect()
}

#[tokio::test]
async fn a_local_log_is_read_back_by_a_protobuf_decoder_through_its_rotated_files() {
    let rig = Rig::new().await;
    let log = Log {
        driver: LogDriver::Local,
        options: &[("max-size", "80k")],
        attributes: &[("k", "v")],
    };
    let script = format!("{THOUSAND_LINES}; sleep 0.5; {THOUSAND_LINES}");
    ended(&log.started(&rig, &script).await).await;
    let current = Log::path(&rig);
    let packed = current.with_file_name("x.log.1.gz");
    until_true("the full file is compressed", 10, || packed.exists());
    let all = [unpacked(&packed), fs::read(&current).expect("a log")].concat();
    let expected: Vec<_> = (0..2000).map(|number| format!("line-{}", number % 1000)).collect();
    assert_eq!(local_lines(&all), expected);
}
