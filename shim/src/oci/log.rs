//! The runtime's log file, of which only the last error matters.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use serde::Deserialize;

/// The most that is read of a log, in bytes.
const LONGEST: u64 = 1 << 20;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// How long the log is now: what is logged from here on belongs to the next call.
pub fn length(path: &Path) -> u64 {
    fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0)
}

/// The last error that was logged after `start`.
pub fn last_error(path: &Path, start: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    last_error_in(&text)
}

fn last_error_in(text: &[u8]) -> Option<String> {
    text.rsplit(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
        .find(|line| matches!(line.level.as_str(), "error" | "fatal"))
        .map(|line| line.msg.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_counts_and_torn_lines_do_not() {
        let text = concat!(
            r#"{"level":"error","msg":"first","time":"x"}"#,
            "\n",
            r#"{"level":"error","msg":" exec: \"x\": not found "}"#,
            "\n",
            r#"{"level":"warning","msg":"later"}"#,
            "\nnot json\n{\"level\":\"err"
        );
        assert_eq!(last_error_in(text.as_bytes()).unwrap(), "exec: \"x\": not found");
        assert_eq!(last_error_in(b""), None);
    }
}
