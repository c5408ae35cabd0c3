use davit_metadata::deaf;
use sha2::Digest as _;

use super::*;

fn scope(namespace: &str) -> Scope {
    Scope::new(namespace.parse().unwrap())
}

fn open(dir: &Path) -> ContentStore {
    let database = Arc::new(Database::open(&dir.join("meta.db")).unwrap());
    ContentStore::open(&dir.join("content"), database, deaf()).unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256(sha2::Sha256::digest(bytes).into())
}

fn put(store: &ContentStore, scope: &Scope, bytes: &[u8]) -> Result<Digest, ContentError> {
    let mut writer = store.writer(scope, "r", Some(digest(bytes)), bytes.len() as u64)?;
    writer.write(&bytes[usize::try_from(writer.offset()).unwrap()..])?;
    writer.commit(Some(bytes.len() as u64), None, Labels::new())
}

#[test]
fn a_blob_is_read_back_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = put(&store, &scope("a"), b"hello").unwrap();
    let reader = store.reader(&scope("a"), &digest).unwrap();
    assert_eq!(reader.read_at(1, 3).unwrap(), b"ell");
    assert_eq!(reader.read_at(5, 3).unwrap(), b"");
    assert!(matches!(
        reader.read_at(6, 1),
        Err(ContentError::ReadOffset { size: 5 })
    ));
    assert!(matches!(
        store.reader(&scope("b"), &digest),
        Err(ContentError::NotFound(_))
    ));
}

#[test]
fn a_write_is_resumed_after_the_store_was_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut writer = store.writer(&scope("a"), "r", None, 10).unwrap();
    writer.write(b"01234").unwrap();
    assert!(matches!(
        store.writer(&scope("a"), "r", None, 0),
        Err(ContentError::Locked(_))
    ));
    drop(writer);
    drop(store);
    let store = open(dir.path());
    let status = store.status(&scope("a"), "r").unwrap();
    assert_eq!((status.offset, status.total), (5, 10));
    let mut writer = store.writer(&scope("a"), "r", None, 0).unwrap();
    assert!(matches!(
        writer.seek(4),
        Err(ContentError::Offset { asked: 4, current: 5 })
    ));
    writer.seek(5).unwrap();
    writer.write(b"56789").unwrap();
    let expected = digest(b"0123456789");
    assert_eq!(
        writer.commit(Some(10), Some(&expected), Labels::new()).unwrap(),
        expected
    );
    assert!(matches!(store.status(&scope("a"), "r"), Err(ContentError::NoIngest(_))));
}

#[test]
fn wrong_bytes_never_become_a_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let write = || {
        let mut writer = store.writer(&scope("a"), "r", None, 0).unwrap();
        writer.seek(0).unwrap();
        writer.write(b"bad").unwrap();
        writer
    };
    let wrong = write().commit(Some(3), Some(&digest(b"good")), Labels::new());
    assert!(matches!(wrong, Err(ContentError::Digest { .. })));
    let short = write().commit(Some(4), None, Labels::new());
    assert_eq!(
        short.unwrap_err().to_string(),
        "\"r\" failed size validation: 3 != 4: failed precondition"
    );
    assert!(store.list(&scope("a")).unwrap().is_empty());
    store.abort(&scope("a"), "r").unwrap();
    assert!(store.statuses(&scope("a")).unwrap().is_empty());
}

#[test]
fn a_blob_of_another_namespace_needs_only_a_commit_and_lives_until_the_last_one_lets_it_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let digest = put(&store, &scope("a"), b"shared").unwrap();
    assert!(matches!(
        put(&store, &scope("a"), b"shared"),
        Err(ContentError::Exists(_))
    ));
    assert_eq!(put(&store, &scope("b"), b"shared").unwrap(), digest);
    store.delete(&scope("a"), &digest).unwrap();
    assert_eq!(store.read(&scope("b"), &digest, 100).unwrap(), b"shared");
    store.delete(&scope("b"), &digest).unwrap();
    assert!(store.shared.blobs.all().unwrap().is_empty());
    assert!(matches!(
        store.delete(&scope("b"), &digest),
        Err(ContentError::NotFound(_))
    ));
}

#[test]
fn files_that_a_crash_left_without_a_record_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let stray = dir.path().join("content/blobs/sha256").join("0".repeat(64));
    std::fs::write(&stray, "x").unwrap();
    std::fs::create_dir(dir.path().join("content/ingest/dead")).unwrap();
    drop(open(dir.path()));
    assert!(!stray.exists());
    assert!(!dir.path().join("content/ingest/dead").exists());
}
