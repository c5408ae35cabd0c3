use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Mutex};

use davit_vocabulary::ErrorKind;
use tempfile::TempDir;

use super::*;
use crate::OutOfRange;

const ROOMY: Limits = Limits {
    entries: 1000,
    bytes: 1 << 20,
};

/// A journal, and the numbers of what it has told.
struct World {
    folder: TempDir,
    told: Arc<Mutex<Vec<u64>>>,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            told: Arc::default(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("events")
    }

    fn open(&self, limits: Limits) -> Journal {
        self.try_open(limits).unwrap()
    }

    fn try_open(&self, limits: Limits) -> Result<Journal, JournalError> {
        let told = self.told.clone();
        let tell = move |sequence, _: &[u8]| told.lock().unwrap().push(sequence);
        Journal::open(&self.path(), limits, tell)
    }

    /// The files, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    fn told(&self) -> Vec<u64> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

fn entry(identity: u128) -> Entry {
    Entry {
        identity,
        bytes: identity.to_string().into_bytes(),
    }
}

async fn append(journal: &Journal, identities: impl IntoIterator<Item = u128>) {
    for identity in identities {
        journal.append(entry(identity)).await.unwrap();
    }
}

/// All that is held after this number, page by page.
fn held(journal: &Journal, after: u64) -> Vec<(u64, String)> {
    let (mut at, mut all) = (after, Vec::new());
    loop {
        let page = journal.read(at).unwrap();
        let Some((last, _)) = page.last() else { return all };
        at = *last;
        let text = |(sequence, bytes)| (sequence, String::from_utf8(bytes).unwrap());
        all.extend(page.into_iter().map(text));
    }
}

#[tokio::test]
async fn entries_get_growing_numbers_and_are_there_after_a_restart() {
    let world = World::new();
    let journal = world.open(ROOMY);
    assert_eq!(journal.span(), (1, 0));
    append(&journal, [10, 20]).await;
    let epoch = journal.epoch();
    drop(journal);
    let journal = world.open(ROOMY);
    append(&journal, [30]).await;
    assert_eq!(journal.epoch(), epoch);
    assert_eq!(epoch.to_string().parse(), Ok(epoch));
    assert_eq!(held(&journal, 1), [(2, "20".into()), (3, "30".into())]);
    assert_eq!(held(&journal, 3), []);
    assert_eq!(world.told(), [1, 2, 3]);
}

#[tokio::test]
async fn an_entry_that_comes_again_is_neither_stored_nor_told_again() {
    let world = World::new();
    let journal = world.open(ROOMY);
    append(&journal, [10, 10, 20, 10]).await;
    assert_eq!(world.told(), [1, 2]);
    assert_eq!(journal.span().1, 2);
}

#[tokio::test]
async fn an_entry_of_an_earlier_run_that_comes_again_is_told_once_in_this_one_and_not_stored() {
    let world = World::new();
    let journal = world.open(ROOMY);
    append(&journal, [10, 20]).await;
    drop(journal);
    let journal = world.open(ROOMY);
    world.told();
    append(&journal, [20, 20, 30, 20]).await;
    assert_eq!(world.told(), [2, 3]);
    assert_eq!(journal.span().1, 3);
}

#[tokio::test]
async fn the_oldest_entries_go_by_number_and_by_size_and_who_asks_for_them_is_told() {
    let world = World::new();
    let journal = world.open(Limits { entries: 3, ..ROOMY });
    append(&journal, 1..=10).await;
    assert_eq!(journal.span(), (8, 10));
    let JournalError::OutOfRange(error) = journal.read(6).unwrap_err() else {
        panic!("expected an error of range");
    };
    assert_eq!(error, OutOfRange::TooOld { after: 6, oldest: 8 });
    assert_eq!(
        error.to_string(),
        "events after 6 are not held any more, the oldest is 8"
    );
    assert_eq!(held(&journal, 7).len(), 3);
    assert_eq!(journal.read(11).unwrap_err().kind(), ErrorKind::OutOfRange);
    drop(journal);

    let bytes = 3 * (100 + 48);
    let journal = world.open(Limits { entries: 3, bytes });
    for identity in 100..110 {
        let large = Entry {
            identity,
            bytes: vec![0; 100],
        };
        journal.append(large).await.unwrap();
    }
    assert_eq!(journal.span(), (18, 20));
    let huge = Entry {
        identity: 200,
        bytes: vec![0; 1000],
    };
    journal.append(huge).await.unwrap();
    assert_eq!(journal.span(), (21, 21));
}

#[tokio::test]
async fn what_was_dropped_is_not_known_any_more_when_it_comes_again() {
    let world = World::new();
    let journal = world.open(Limits { entries: 2, ..ROOMY });
    append(&journal, [1, 2, 3, 1]).await;
    assert_eq!(held(&journal, 2), [(3, "3".into()), (4, "1".into())]);
}

#[tokio::test]
async fn a_reader_gets_all_of_it_across_many_segments_page_by_page() {
    let world = World::new();
    let journal = world.open(Limits { entries: 4000, ..ROOMY });
    let expected: Vec<_> = (0..2000).map(|number| (number + 1, number.to_string())).collect();
    append(&journal, 0..2000).await;
    assert_eq!(world.files().len(), 4);
    for journal in [journal, world.open(ROOMY)] {
        assert_eq!(held(&journal, 0), expected);
        assert_eq!(held(&journal, 1998), expected[1998..]);
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_is_cut_off_and_its_number_is_given_again() {
    let world = World::new();
    let journal = world.open(ROOMY);
    append(&journal, [1, 2, 3]).await;
    let epoch = journal.epoch();
    drop(journal);
    let file = world.files().remove(0);
    let whole = fs::read(&file).unwrap();
    for missing in 1..=29 {
        fs::write(&file, &whole[..whole.len() - missing]).unwrap();
        let journal = world.open(ROOMY);
        assert_eq!((journal.epoch(), journal.span().1), (epoch, 2), "{missing}");
        append(&journal, [4]).await;
        assert_eq!(held(&journal, 1), [(2, "2".into()), (3, "4".into())]);
    }
}

#[tokio::test]
async fn a_segment_that_was_only_begun_is_made_again() {
    let world = World::new();
    let journal = world.open(Limits { entries: 8, ..ROOMY });
    append(&journal, [1, 2, 3]).await;
    let epoch = journal.epoch();
    drop(journal);
    let last = world.files().pop().unwrap();
    fs::write(&last, b"davit-ev").unwrap();
    let journal = world.open(ROOMY);
    assert_eq!(journal.epoch(), epoch);
    append(&journal, [4]).await;
    assert_eq!(held(&journal, 1), [(2, "2".into()), (3, "4".into())]);
}

#[tokio::test]
async fn a_damaged_journal_is_put_aside_and_a_new_epoch_begins() {
    let zeroes: fn(&[PathBuf]) = |files| fs::write(&files[0], [0; 1 << 16]).unwrap();
    let one_bit: fn(&[PathBuf]) = |files| {
        let mut bytes = fs::read(&files[1]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&files[1], bytes).unwrap();
    };
    let gap: fn(&[PathBuf]) = |files| fs::remove_file(&files[1]).unwrap();
    let cut: fn(&[PathBuf]) = |files| {
        let bytes = fs::read(&files[1]).unwrap();
        fs::write(&files[1], &bytes[..bytes.len() - 1]).unwrap();
    };
    // The kernel refuses to read a process at address 0 with EIO.
    let bad_sector: fn(&[PathBuf]) = |files| {
        fs::remove_file(&files[1]).unwrap();
        symlink("/proc/self/mem", &files[1]).unwrap();
    };
    for damage in [zeroes, one_bit, gap, cut, bad_sector] {
        let world = World::new();
        let journal = world.open(Limits { entries: 80, ..ROOMY });
        append(&journal, 1..=30).await;
        let epoch = journal.epoch();
        drop(journal);
        damage(&world.files());
        let journal = world.open(ROOMY);
        assert_ne!(journal.epoch(), epoch);
        append(&journal, [1]).await;
        assert_eq!(journal.span(), (1, 1));
        assert!(world.path().with_extension("damaged").is_dir());
    }
}

#[test]
fn a_journal_of_another_version_is_refused_and_left_as_it_is() {
    let world = World::new();
    drop(world.open(ROOMY));
    let file = world.files().remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[12] = 2;
    fs::write(&file, &bytes).unwrap();
    let refused = world.try_open(ROOMY).err().unwrap().to_string();
    assert!(
        refused.ends_with("has version 2, this program knows version 1"),
        "{refused}"
    );
    assert_eq!(fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn an_entry_that_cannot_be_written_is_said_to_its_sender_and_can_be_sent_again() {
    let world = World::new();
    let journal = world.open(Limits { entries: 8, ..ROOMY });
    append(&journal, [1]).await;
    let away = world.folder.path().join("away");
    fs::rename(world.path(), &away).unwrap();
    let refused = journal.append(entry(2)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(
        refused.to_string().starts_with("event is not journalled: No such file"),
        "{refused}"
    );
    fs::rename(&away, world.path()).unwrap();
    append(&journal, [2]).await;
    assert_eq!(world.told(), [1, 2]);
    assert_eq!(held(&world.open(ROOMY), 0), [(1, "1".into()), (2, "2".into())]);
}
