use std::{fs, num::NonZeroU32, path::PathBuf, time::Duration};

use flate2::read::GzDecoder;
use jiff::Timestamp;

use super::*;
use crate::{lines::Lines, record::Source};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

struct Rig {
    dir: tempfile::TempDir,
    log: FileLog,
    lines: Lines,
}

impl Rig {
    fn new(rotation: Rotation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = FileLog::open(&dir.path().join("x"), rotation, Format::json(&BTreeMap::new())).unwrap();
        Self {
            dir,
            log,
            lines: Lines::default(),
        }
    }

    fn write(&mut self, source: Source, text: &str) {
        let mut batch = self.log.batch();
        self.lines
            .push(source, text.as_bytes(), NOW, |record| batch.push(&record));
        batch.finish().unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn texts(&self, name: &str) -> Vec<String> {
        texts(&fs::read_to_string(self.file(name)).unwrap())
    }
}

fn texts(file: &str) -> Vec<String> {
    let records = file
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records
        .map(|record| record["log"].as_str().unwrap().to_owned())
        .collect()
}

fn rotation(max_size: u64, max_files: u32, compress: bool) -> Rotation {
    Rotation {
        max_size: Some(max_size),
        max_files: NonZeroU32::new(max_files).unwrap(),
        compress,
    }
}

#[test]
fn both_streams_go_to_one_file_and_a_tail_without_newline_is_kept() {
    let mut rig = Rig::new(Rotation::NEVER);
    rig.write(Source::Stdout, "one\ntw");
    rig.write(Source::Stderr, "error\n");
    rig.write(Source::Stdout, "o\nthree");
    let mut batch = rig.log.batch();
    for source in [Source::Stdout, Source::Stderr] {
        rig.lines.finish(source, NOW, |record| batch.push(&record));
    }
    batch.finish().unwrap();
    assert_eq!(rig.texts("x"), ["one\n", "error\n", "two\n", "three"]);
}

#[test]
fn a_full_file_is_moved_on_and_only_so_many_are_kept() {
    let mut rig = Rig::new(rotation(1, 3, false));
    rig.write(Source::Stdout, "1\n2\n3\n4\n");
    rig.write(Source::Stdout, "5\n");
    assert_eq!(
        (rig.texts("x"), rig.texts("x.1"), rig.texts("x.2")),
        (vec!["5\n".into()], vec!["4\n".into()], vec!["3\n".into()])
    );
    assert!(!rig.file("x.3").exists());
}

#[test]
fn with_one_file_a_full_file_begins_anew() {
    let mut rig = Rig::new(rotation(100, 1, false));
    for number in 0..10 {
        rig.write(Source::Stdout, &format!("{number}\n"));
    }
    assert_eq!(rig.texts("x"), ["8\n", "9\n"]);
}

#[test]
fn a_rotation_that_fails_loses_no_file_however_often_it_is_tried() {
    let mut rig = Rig::new(rotation(1, 3, false));
    rig.write(Source::Stdout, "1\n2\n3\n");
    // Nothing can be opened under the name of the next file.
    fs::create_dir(rig.file("x.new")).unwrap();
    for _ in 0..5 {
        let mut batch = rig.log.batch();
        rig.lines
            .push(Source::Stdout, b"lost\n", NOW, |record| batch.push(&record));
        batch.finish().unwrap_err();
    }
    let files = |rig: &Rig| ["x", "x.1", "x.2"].map(|name| rig.texts(name).concat());
    assert_eq!(files(&rig), ["3\n", "2\n", "1\n"]);
    fs::remove_dir(rig.file("x.new")).unwrap();
    rig.write(Source::Stdout, "4\n");
    assert_eq!(files(&rig), ["4\n", "3\n", "2\n"]);
    assert!(!rig.file("x.new").exists());
}

#[test]
fn a_file_that_was_taken_away_makes_no_gap_and_a_gap_ends_the_moving() {
    let mut rig = Rig::new(rotation(1, u32::MAX, false));
    rig.write(Source::Stdout, "1\n2\n3\n");
    fs::remove_file(rig.file("x")).unwrap();
    rig.write(Source::Stdout, "4\n");
    assert_eq!(
        (rig.texts("x.1"), rig.texts("x.2")),
        (vec!["2\n".into()], vec!["1\n".into()])
    );
    fs::remove_file(rig.file("x.1")).unwrap();
    rig.write(Source::Stdout, "5\n");
    assert_eq!(
        (rig.texts("x.1"), rig.texts("x.2")),
        (vec!["4\n".into()], vec!["1\n".into()])
    );
    assert!(!rig.file("x.3").exists());
}

#[test]
fn a_full_file_that_was_emptied_is_not_rotated() {
    let mut rig = Rig::new(rotation(100, 3, false));
    rig.write(Source::Stdout, "1\n2\n");
    fs::write(rig.file("x"), "").unwrap();
    rig.write(Source::Stdout, "3\n");
    assert_eq!(rig.texts("x"), ["3\n"]);
    assert!(!rig.file("x.1").exists());
}

#[test]
fn a_file_that_was_full_already_has_its_last_time_from_its_last_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "full").unwrap();
    let time = Timestamp::new(1_700_000_000, 0).unwrap();
    fs::File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(time.into())
        .unwrap();
    let file = RotatingFile::open(&path, rotation(1, 2, true)).unwrap();
    assert_eq!(file.last_time, time);
}

#[test]
fn a_reopened_file_is_appended_to() {
    let mut rig = Rig::new(Rotation::NEVER);
    rig.write(Source::Stdout, "a\n");
    rig.log = FileLog::open(&rig.file("x"), Rotation::NEVER, Format::json(&BTreeMap::new())).unwrap();
    rig.write(Source::Stdout, "b\n");
    assert_eq!(rig.texts("x"), ["a\n", "b\n"]);
}

#[test]
fn a_rotated_file_is_compressed_and_its_header_tells_its_last_time() {
    let mut rig = Rig::new(rotation(1, 3, true));
    for number in 1..=5 {
        rig.write(Source::Stdout, &format!("{number}\n"));
        let patience = (0..500).take_while(|_| number > 1 && rig.file("x.1").exists());
        patience.for_each(|_| std::thread::sleep(Duration::from_millis(10)));
    }
    for (name, text) in [("x.1.gz", "4\n"), ("x.2.gz", "3\n")] {
        let mut decoder = GzDecoder::new(fs::File::open(rig.file(name)).unwrap());
        let mut content = String::new();
        io::Read::read_to_string(&mut decoder, &mut content).unwrap();
        assert_eq!(texts(&content), [text]);
        let extra = decoder.header().unwrap().extra().unwrap();
        assert_eq!(extra, b"{\"lastTime\":\"1970-01-01T00:00:00Z\"}");
    }
    let mut names: Vec<_> = fs::read_dir(rig.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["x", "x.1.gz", "x.2.gz"]);
}

#[test]
fn whoever_is_faster_than_gzip_loses_no_file_for_it() {
    let mut rig = Rig::new(rotation(1, 4, true));
    rig.write(Source::Stdout, "1\n2\n3\n4\n5\n");
    drop(rig.log.file.rotate());
    let mut seen = Vec::new();
    for number in (1..4).rev() {
        let plain = rig.file(&format!("x.{number}"));
        let content = match fs::read(&plain) {
            Ok(content) => content,
            Err(_) => {
                let file = fs::File::open(rotating::compressed(&plain)).unwrap();
                let mut content = Vec::new();
                io::Read::read_to_end(&mut GzDecoder::new(file), &mut content).unwrap();
                content
            }
        };
        seen.extend(texts(&String::from_utf8(content).unwrap()));
    }
    assert_eq!(seen, ["3\n", "4\n", "5\n"]);
}
