use std::fs;

use super::*;

fn entry(number: usize) -> String {
    format!("{{\"log\":\"line {number}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{number:02}Z\"}}\n")
}

/// Lines 0 to 9: four in the oldest file, three in each of the others.
fn rotated_log(folder: &Path) -> PathBuf {
    let log = folder.join("x.log");
    let text = |range: std::ops::Range<usize>| range.map(entry).collect::<String>();
    fs::write(folder.join("x.log.2"), text(0..4)).unwrap();
    fs::write(folder.join("x.log.1"), text(4..7)).unwrap();
    fs::write(&log, text(7..10)).unwrap();
    log
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines
        .iter()
        .map(|line| String::from_utf8(line.text.clone()).unwrap())
        .collect()
}

#[test]
fn the_last_lines_are_found_across_rotated_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = position::files(&rotated_log(folder.path()));
    for (count, expected) in [
        (0, (0, true)),
        (1, (0, false)),
        (3, (0, false)),
        (4, (1, false)),
        (8, (2, false)),
        (99, (2, false)),
    ] {
        let (place, offset) = position::of_last_lines(&files, count, None).unwrap().unwrap();
        let mut reader = Reader::open(&files[place], offset, None).unwrap();
        let first = reader.next_lines().unwrap();
        assert_eq!(place, expected.0, "tail of {count}");
        assert_eq!(first.is_empty(), expected.1, "tail of {count}");
        if let Some(line) = texts(&first).first() {
            assert_eq!(
                *line,
                format!("line {}\n", 10usize.saturating_sub(count)),
                "tail of {count}"
            );
        }
    }
}

#[test]
fn a_reader_goes_on_with_the_file_that_followed_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let log = rotated_log(folder.path());
    let mut reader = Reader::open(&folder.path().join("x.log.2"), 0, None).unwrap();
    let mut seen = texts(&reader.next_lines().unwrap());
    while let Some(next) = reader.successor(&log).unwrap() {
        reader = next;
        seen.extend(texts(&reader.next_lines().unwrap()));
    }
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[9], "line 9\n");
}

#[test]
fn half_a_line_waits_for_its_other_half_and_torn_ones_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    let whole = entry(1);
    fs::write(&path, format!("{{torn\n{}", &whole[..20])).unwrap();
    let mut reader = Reader::open(&path, 0, None).unwrap();
    assert!(reader.next_lines().unwrap().is_empty());
    fs::write(&path, format!("{{torn\n{whole}")).unwrap();
    assert_eq!(texts(&reader.next_lines().unwrap()), ["line 1\n"]);
}

#[test]
fn a_file_emptied_in_place_is_read_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    fs::write(&path, entry(1) + &entry(2)).unwrap();
    let mut reader = Reader::open(&path, 0, None).unwrap();
    assert_eq!(reader.next_lines().unwrap().len(), 2);
    fs::write(&path, entry(3)).unwrap();
    reader.rewind_if_emptied().unwrap();
    assert_eq!(texts(&reader.next_lines().unwrap()), ["line 3\n"]);
}

#[test]
fn a_reader_of_what_there_is_stops_where_the_log_ended_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.log");
    fs::write(&path, entry(1) + &entry(2)).unwrap();
    let end = Some(End::of(&path).unwrap());
    fs::write(&path, entry(1) + &entry(2) + &entry(3)).unwrap();
    let files = [path.clone()];
    let (_, offset) = position::of_last_lines(&files, 1, end).unwrap().unwrap();
    let mut reader = Reader::open(&path, offset, end).unwrap();
    assert_eq!(texts(&reader.next_lines().unwrap()), ["line 2\n"]);
    assert!(reader.next_lines().unwrap().is_empty());
    assert!(reader.successor(&path).unwrap().is_none());
}
