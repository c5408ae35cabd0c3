use std::num::NonZeroU32;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn texts(path: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(path).unwrap();
    let field = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| (field(&record["stream"]), field(&record["log"])))
        .collect()
}

#[test]
fn both_streams_go_to_one_file_and_a_tail_without_newline_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let mut log = JsonFile::open(&path, Rotation::NEVER).unwrap();
    log.write(Source::Stdout, b"one\ntw", NOW).unwrap();
    log.write(Source::Stderr, b"error\n", NOW).unwrap();
    log.write(Source::Stdout, b"o\nthree", NOW).unwrap();
    log.finish(Source::Stdout, NOW).unwrap();
    log.finish(Source::Stderr, NOW).unwrap();
    let expected = [
        ("stdout", "one\n"),
        ("stderr", "error\n"),
        ("stdout", "two\n"),
        ("stdout", "three"),
    ];
    assert_eq!(
        texts(&path),
        expected.map(|(stream, log)| (stream.to_owned(), log.to_owned()))
    );
}

#[test]
fn a_full_file_is_moved_on_and_only_so_many_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let rotation = Rotation {
        max_size: Some(1),
        max_files: NonZeroU32::new(3).unwrap(),
    };
    let mut log = JsonFile::open(&path, rotation).unwrap();
    log.write(Source::Stdout, b"1\n2\n3\n4\n", NOW).unwrap();
    log.write(Source::Stdout, b"5\n", NOW).unwrap();
    let of = |suffix: &str| texts(&dir.path().join(format!("x-json.log{suffix}")));
    let one = |text: &str| vec![("stdout".to_owned(), text.to_owned())];
    assert_eq!((of(""), of(".1"), of(".2")), (one("5\n"), one("4\n"), one("3\n")));
    assert!(!dir.path().join("x-json.log.3").exists());
}

#[test]
fn with_one_file_a_full_file_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    let mut log = JsonFile::open(
        &path,
        Rotation {
            max_size: Some(100),
            ..Rotation::NEVER
        },
    )
    .unwrap();
    for number in 0..10 {
        log.write(Source::Stdout, format!("{number}\n").as_bytes(), NOW)
            .unwrap();
    }
    let kept: Vec<_> = texts(&path).into_iter().map(|(_, text)| text).collect();
    assert_eq!(kept, ["8\n", "9\n"]);
}

#[test]
fn a_reopened_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x-json.log");
    for text in ["a\n", "b\n"] {
        let mut log = JsonFile::open(&path, Rotation::NEVER).unwrap();
        log.write(Source::Stdout, text.as_bytes(), NOW).unwrap();
    }
    assert_eq!(texts(&path).len(), 2);
}
