//! What a criu log says of an error: the lines about it, and the few before.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::CriuError;
use crate::log;

const LOOK_FOR: &str = "Error";
const BEFORE: usize = 5;
/// A log is some hundred kilobytes; more than this is not read for a few lines.
const MAX_LOG: u64 = 64 << 20;

/// Says where more is to be read, and repeats the errors of criu's log as warnings of ours.
pub fn explain(failure: CriuError, log: PathBuf) -> CriuError {
    if !log.exists() {
        return failure;
    }
    quote(&log);
    CriuError::Logged(Box::new(failure), log)
}

fn quote(log: &Path) {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(err) => return log::warn(&format!("open {}: {err}", log.display())),
    };
    let lines = errors(BufReader::new(file.take(MAX_LOG)));
    if lines.is_empty() {
        return;
    }
    log::warn(&format!("--- Quoting {log:?}"));
    lines.iter().for_each(|line| log::warn(line));
    log::warn("---");
}

/// Lines with an error and those shortly before, numbered, and "..." for a gap.
fn errors(log: impl BufRead) -> Vec<String> {
    let mut quoted = Vec::new();
    let mut before: VecDeque<(usize, Vec<u8>)> = VecDeque::with_capacity(BEFORE + 1);
    let mut last = 0;
    for (index, line) in log.split(b'\n').map_while(Result::ok).enumerate() {
        let is_error = line.windows(LOOK_FOR.len()).any(|part| part == LOOK_FOR.as_bytes());
        before.push_back((index + 1, line));
        if is_error {
            let first = before.front().map_or(0, |(number, _)| *number);
            if last != 0 && first > last + 1 {
                quoted.push("...".into());
            }
            quoted.extend(
                before
                    .drain(..)
                    .map(|(number, line)| format!("{number}:{}", String::from_utf8_lossy(&line))),
            );
            last = index + 1;
        } else if before.len() > BEFORE {
            before.pop_front();
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::errors;

    #[test]
    fn an_error_is_quoted_with_the_lines_before_it_and_a_gap_is_marked() {
        let log: Vec<String> = (1..=30)
            .map(|number| match number {
                3 | 4 | 20 => format!("Error {number}"),
                _ => format!("line {number}"),
            })
            .collect();
        let quoted = errors(log.join("\n").as_bytes());
        let expected = [
            "1:line 1",
            "2:line 2",
            "3:Error 3",
            "4:Error 4",
            "...",
            "15:line 15",
            "16:line 16",
            "17:line 17",
            "18:line 18",
            "19:line 19",
            "20:Error 20",
        ];
        assert_eq!(quoted, expected);
        assert!(errors("all is well\n".as_bytes()).is_empty());
    }
}
