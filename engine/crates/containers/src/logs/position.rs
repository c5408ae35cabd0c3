//! Which files a log consists of, and where in them the last lines begin.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

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
pub(super) fn of_last_lines(files: &[PathBuf], count: usize) -> io::Result<Option<(usize, u64)>> {
    let mut missing = count;
    for (place, path) in files.iter().enumerate() {
        let mut file = File::open(path)?;
        match last_lines_in(&mut file, missing)? {
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
fn last_lines_in(file: &mut File, count: usize) -> io::Result<Found> {
    const BLOCK: u64 = 64 << 10;
    let length = file.metadata()?.len();
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
