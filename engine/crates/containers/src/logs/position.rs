//! Which files a log consists of, and where in them the last lines begin.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::End;

/// The log's files that exist, newest first: `x.log`, `x.log.1`, …
pub(super) fn files(log: &Path) -> Vec<PathBuf> {
    let numbered = (1..).map(|number| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let older = numbered.take_while(|path| path.exists());
    std::iter::once(log.to_owned())
        .filter(|path| path.exists())
        .chain(older)
        .collect()
}

/// The file and the offset in it from which on there are `count` whole lines, newest first; the oldest file's beginning
/// where there are fewer.
///
/// `end` is where the newest file is taken to end; `None`: where it ends now.
pub(super) fn of_last_lines(files: &[PathBuf], count: usize, end: Option<End>) -> io::Result<Option<(usize, u64)>> {
    let mut missing = count;
    for (place, path) in files.iter().enumerate() {
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        let length = match end {
            Some(end) if end.inode == metadata.ino() => end.length.min(metadata.len()),
            _ => metadata.len(),
        };
        match last_lines_in(&mut file, length, missing)? {
            Found::Offset(offset) => return Ok(Some((place, offset))),
            Found::Fewer(lines) => missing -= lines,
        }
    }
    Ok(files.len().checked_sub(1).map(|oldest| (oldest, 0)))
}

enum Found {
    Offset(u64),
    Fewer(usize),
}

/// Looks for line ends from the file's end backwards.
fn last_lines_in(file: &mut File, length: u64, count: usize) -> io::Result<Found> {
    const BLOCK: u64 = 64 << 10;
    let (mut end, mut ends) = (length, 0);
    if count == 0 {
        return Ok(Found::Offset(length));
    }
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = vec![0; (end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (place, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            // The end of the line before the first wanted one is one more than the lines wanted.
            if ends == count {
                return Ok(Found::Offset(start + place as u64 + 1));
            }
            ends += 1;
        }
        end = start;
    }
    if ends == count {
        Ok(Found::Offset(0))
    } else {
        Ok(Found::Fewer(ends))
    }
}
