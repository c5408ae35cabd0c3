//! The segments, and the identities in them.

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    Entry, Epoch, JournalError, Limits, OutOfRange, Page,
    folder::{self, Found},
    record,
    segment::Segment,
};

/// What goes at once is a segment: a share of the limits.
const SHARE: u64 = 8;

/// A page has no more entries than this,
const PAGE_ENTRIES: usize = 512;
/// and no more after this many bytes.
const PAGE_BYTES: u32 = 256 << 10;

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It got this number.
    New(u64),
    /// It was there under this number.
    Held(u64),
}

/// The open journal: one thread writes, any may read.
pub(crate) struct Store {
    folder: PathBuf,
    epoch: Epoch,
    limits: Limits,
    /// Never locked over a write.
    index: Mutex<Index>,
    /// Whether the last file may have bytes behind its last entry, of a write that failed.
    is_dirty: AtomicBool,
}

struct Index {
    segments: VecDeque<Segment>,
    identities: HashMap<u128, u64>,
}

/// A commit on its way: what is to be written where.
struct Draft {
    file: Arc<File>,
    start: u64,
    buffer: Vec<u8>,
    ends: Vec<u32>,
    identities: HashMap<u128, u64>,
    appended: Vec<Appended>,
}

impl Store {
    pub(crate) fn open(folder: &Path, limits: Limits) -> Result<Self, JournalError> {
        let Found {
            epoch,
            segments,
            identities,
        } = folder::open(folder)?;
        Ok(Self {
            folder: folder.into(),
            epoch,
            limits,
            index: Mutex::new(Index {
                segments: segments.into(),
                identities,
            }),
            is_dirty: AtomicBool::new(false),
        })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of the oldest entry held, or of the one to come, and of the last.
    pub(crate) fn span(&self) -> (u64, u64) {
        self.index().span()
    }

    /// Stores the entries that are not held yet, all or none of them. For one thread alone.
    pub(crate) fn append(&self, entries: &[Entry]) -> io::Result<Vec<Appended>> {
        self.begin_segment_if_full()?;
        let draft = self.index().draft(entries);
        if !draft.buffer.is_empty() {
            self.write(&draft)?;
        }
        let (appended, dropped) = self.index().take_up(draft, &self.limits);
        for segment in dropped {
            if let Err(error) = fs::remove_file(&segment.path) {
                tracing::warn!(path = %segment.path.display(), %error, "remove old events");
            }
        }
        Ok(appended)
    }

    /// The next entries after this number.
    pub(crate) fn read(&self, after: u64) -> Result<Page, JournalError> {
        let range = {
            let index = self.index();
            let (oldest, last) = index.span();
            if after > last {
                return Err(OutOfRange::Ahead { after, last }.into());
            }
            if after + 1 < oldest {
                return Err(OutOfRange::TooOld { after, oldest }.into());
            }
            let holder = index.segments.iter().rev().find(|segment| segment.first <= after + 1);
            let holder = holder.unwrap_or_else(|| index.last());
            holder.range(after + 1, PAGE_ENTRIES, PAGE_BYTES)
        };
        range.read().map_err(JournalError::Read)
    }

    fn begin_segment_if_full(&self) -> io::Result<()> {
        let next = {
            let index = self.index();
            let last = index.last();
            let entries = last.next() - last.first;
            let is_full = entries >= self.limits.entries / SHARE || last.length() >= self.limits.bytes / SHARE;
            if !is_full || entries == 0 {
                return Ok(());
            }
            last.next()
        };
        // Bytes of a failed write behind the last entry would be damage in a segment that is not the last.
        self.clean()?;
        let segment = Segment::create(&self.folder, self.epoch, next)?;
        davit_fail_point::reach("manager.journal.segment-made");
        self.index().segments.push_back(segment);
        Ok(())
    }

    fn write(&self, draft: &Draft) -> io::Result<()> {
        self.clean()?;
        self.is_dirty.store(true, Ordering::Relaxed);
        draft.file.write_all_at(&draft.buffer, draft.start)?;
        davit_fail_point::reach("manager.journal.written");
        draft.file.sync_data()?;
        self.is_dirty.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn clean(&self) -> io::Result<()> {
        if self.is_dirty.load(Ordering::Relaxed) {
            let (file, length) = {
                let index = self.index();
                (index.last().file.clone(), index.last().length())
            };
            file.set_len(length)?;
            self.is_dirty.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn last(&self) -> &Segment {
        self.segments.back().expect("there is always a segment")
    }

    fn span(&self) -> (u64, u64) {
        let oldest = self.segments.front().map_or(1, |segment| segment.first);
        (oldest, self.last().next() - 1)
    }

    fn draft(&self, entries: &[Entry]) -> Draft {
        let last = self.last();
        let mut draft = Draft {
            file: last.file.clone(),
            start: last.length(),
            buffer: Vec::new(),
            ends: Vec::new(),
            identities: HashMap::new(),
            appended: Vec::with_capacity(entries.len()),
        };
        let mut next = last.next();
        for entry in entries {
            let identity = &entry.identity;
            let held = self.identities.get(identity).or(draft.identities.get(identity));
            if let Some(number) = held {
                draft.appended.push(Appended::Held(*number));
                continue;
            }
            record::write(&mut draft.buffer, entry);
            draft.ends.push((draft.start + draft.buffer.len() as u64) as u32);
            draft.identities.insert(entry.identity, next);
            draft.appended.push(Appended::New(next));
            next += 1;
        }
        draft
    }

    /// Takes up what was written. Returns what is over the limits by it, to be removed.
    fn take_up(&mut self, draft: Draft, limits: &Limits) -> (Vec<Appended>, Vec<Segment>) {
        let last = self.segments.back_mut().expect("there is always a segment");
        last.grow(draft.ends);
        self.identities.extend(draft.identities);
        let mut dropped = Vec::new();
        while let Some(segment) = self.pop_if_over(limits) {
            dropped.push(segment);
        }
        if !dropped.is_empty() {
            let (oldest, _) = self.span();
            self.identities.retain(|_, number| *number >= oldest);
        }
        (draft.appended, dropped)
    }

    /// The oldest segment, where what is left without it still reaches a limit.
    fn pop_if_over(&mut self, limits: &Limits) -> Option<Segment> {
        let second = self.segments.get(1)?;
        let entries = self.last().next() - second.first;
        let bytes: u64 = self.segments.iter().skip(1).map(Segment::length).sum();
        let is_over = entries >= limits.entries || bytes >= limits.bytes;
        is_over.then(|| self.segments.pop_front()).flatten()
    }
}
