//! One file: consecutive entries, and where each of them ends.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Epoch, Page,
    record::{self, HEADER, Header, Record},
};

/// A segment. Its file is shared with those who read from it, and may be removed meanwhile.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// The number of its first entry.
    pub(crate) first: u64,
    /// The offsets at which its entries end.
    ends: Vec<u32>,
}

/// Why a file is no segment.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It was written by a program with another layout.
    Foreign(u32),
    /// Some of its bytes are not what was written.
    Damaged(&'static str),
    /// It holds less than a header: its maker died.
    Unfinished,
    /// The machine does not let us.
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Entries that are still to be read from a file.
pub(crate) struct Range {
    file: Arc<File>,
    first: u64,
    start: u64,
    length: usize,
}

/// The name of the segment that begins with this number.
fn name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The number in a segment's name.
pub(crate) fn first_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 20)?;
    // Numbers that are counted up to never come near the end of what 64 bits hold.
    digits.parse().ok().filter(|first| (1..=u64::MAX / 2).contains(first))
}

impl Segment {
    /// Makes an empty segment, which is there after any crash.
    pub(crate) fn create(folder: &Path, epoch: Epoch, first: u64) -> io::Result<Self> {
        let path = folder.join(name(first));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.write_all_at(&record::header(epoch), 0)?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(Self {
            path,
            file: Arc::new(file),
            first,
            ends: Vec::new(),
        })
    }

    /// Reads a segment whole, and tells the identities in it to `identify` with their numbers. What is cut at its end is removed.
    pub(crate) fn load(
        path: &Path,
        first: u64,
        mut identify: impl FnMut(u128, u64),
    ) -> Result<(Self, Epoch), Unreadable> {
        let bytes = fs::read(path)?;
        if u32::try_from(bytes.len()).is_err() {
            return Err(Unreadable::Damaged("size"));
        }
        let epoch = match record::parse_header(&bytes) {
            Header::Ours(epoch) => epoch,
            Header::Foreign(version) => return Err(Unreadable::Foreign(version)),
            Header::Damaged => return Err(Unreadable::Damaged("header")),
            Header::Cut => return Err(Unreadable::Unfinished),
        };
        let mut segment = Self {
            path: path.into(),
            file: Arc::new(File::options().read(true).write(true).open(path)?),
            first,
            ends: Vec::new(),
        };
        let mut at = HEADER;
        while at < bytes.len() {
            match record::parse(&bytes[at..]) {
                Record::Whole { identity, length, .. } => {
                    at += length;
                    identify(identity, segment.next());
                    segment.grow([at as u32]);
                }
                Record::Cut => {
                    tracing::info!(path = %path.display(), at, "what a killed writer left is cut off");
                    segment.file.set_len(at as u64)?;
                    break;
                }
                Record::Damaged => return Err(Unreadable::Damaged("record")),
            }
        }
        Ok((segment, epoch))
    }

    /// The number of the entry that would follow.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// The bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        u64::from(self.ends.last().copied().unwrap_or(HEADER as u32))
    }

    /// Takes up entries that were written, by the offsets of their ends.
    pub(crate) fn grow(&mut self, ends: impl IntoIterator<Item = u32>) {
        self.ends.extend(ends);
    }

    /// The entries from this number, at most `entries` of them, and no more after `bytes`.
    pub(crate) fn range(&self, from: u64, entries: usize, bytes: u32) -> Range {
        let skipped = from.saturating_sub(self.first) as usize;
        let start = match skipped.checked_sub(1).and_then(|index| self.ends.get(index)) {
            Some(end) => *end,
            None => HEADER as u32,
        };
        let ends = self.ends.get(skipped..).unwrap_or_default();
        let ends = &ends[..ends.len().min(entries)];
        let enough = ends.iter().find(|end| **end - start >= bytes);
        let end = enough.or(ends.last()).copied().unwrap_or(start);
        Range {
            file: self.file.clone(),
            first: from,
            start: start.into(),
            length: (end - start) as usize,
        }
    }
}

impl Range {
    pub(crate) fn read(self) -> io::Result<Page> {
        let mut bytes = vec![0; self.length];
        self.file.read_exact_at(&mut bytes, self.start)?;
        let (mut page, mut rest) = (Page::new(), bytes.as_slice());
        while !rest.is_empty() {
            let Record::Whole { bytes, length, .. } = record::parse(rest) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            page.push((self.first + page.len() as u64, bytes.to_vec()));
            rest = &rest[length..];
        }
        Ok(page)
    }
}
