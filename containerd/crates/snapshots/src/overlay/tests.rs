use davit_metadata::deaf;

use super::*;

fn scope() -> Scope {
    Scope::new("n".parse().unwrap())
}

fn open(dir: &Path) -> Overlay {
    let database = Arc::new(Database::open(&dir.join("meta.db")).unwrap());
    Overlay::open(&dir.join("overlay"), database, deaf()).unwrap()
}

fn new(key: &str, parent: &str) -> Preparation {
    Preparation {
        key: key.into(),
        parent: parent.into(),
        labels: Labels::new(),
    }
}

fn commit(overlay: &Overlay, key: &str, name: &str) -> Result<(), SnapshotError> {
    overlay.commit(&scope(), key, name, "", Labels::new())
}

#[test]
fn mounts_follow_the_parents() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    let mounts = overlay.prepare(&scope(), new("a", "")).unwrap();
    assert_eq!(
        (mounts[0].kind.as_str(), &mounts[0].options),
        ("bind", &vec!["rw".into(), "rbind".into()])
    );
    commit(&overlay, "a", "one").unwrap();
    let view = overlay.view(&scope(), new("v", "one")).unwrap();
    assert_eq!(
        (view[0].kind.as_str(), view[0].source.ends_with("/1/fs")),
        ("bind", true)
    );
    overlay.prepare(&scope(), new("b", "one")).unwrap();
    commit(&overlay, "b", "two").unwrap();
    let active = overlay.prepare(&scope(), new("c", "two")).unwrap();
    assert_eq!(active[0].kind, "overlay");
    let lower = active[0]
        .options
        .iter()
        .find(|option| option.starts_with("lowerdir="))
        .unwrap();
    assert!(lower.contains("/3/fs:"), "nearest first: {lower}");
    assert_eq!(overlay.mounts(&scope(), "c").unwrap(), active);
    assert!(matches!(
        overlay.mounts(&scope(), "two"),
        Err(SnapshotError::Committed(_))
    ));
}

#[test]
fn the_state_machine_refuses_what_containerd_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    overlay.prepare(&scope(), new("a", "")).unwrap();
    assert!(matches!(
        overlay.prepare(&scope(), new("a", "")),
        Err(SnapshotError::Exists(_))
    ));
    assert!(matches!(
        overlay.prepare(&scope(), new("", "")),
        Err(SnapshotError::EmptyKey)
    ));
    assert!(matches!(
        overlay.prepare(&scope(), new("b", "none")),
        Err(SnapshotError::NoParent(_))
    ));
    assert!(matches!(
        overlay.prepare(&scope(), new("b", "a")),
        Err(SnapshotError::ParentNotCommitted(_))
    ));
    commit(&overlay, "a", "one").unwrap();
    assert!(matches!(
        commit(&overlay, "a", "other"),
        Err(SnapshotError::NotFound(_))
    ));
    overlay.prepare(&scope(), new("b", "one")).unwrap();
    assert!(matches!(commit(&overlay, "b", "one"), Err(SnapshotError::Exists(_))));
    assert!(matches!(overlay.remove(&scope(), "one"), Err(SnapshotError::HasChild)));
    overlay.remove(&scope(), "b").unwrap();
    overlay.remove(&scope(), "one").unwrap();
    assert!(matches!(
        overlay.remove(&scope(), "one"),
        Err(SnapshotError::NotFound(_))
    ));
    assert!(
        std::fs::read_dir(dir.path().join("overlay/snapshots"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn a_preparation_for_a_target_that_exists_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    overlay.prepare(&scope(), new("a", "")).unwrap();
    commit(&overlay, "a", "one").unwrap();
    let mut wanted = new("b", "");
    wanted.labels.insert("containerd.io/snapshot.ref".into(), "one".into());
    assert!(matches!(
        overlay.prepare(&scope(), wanted),
        Err(SnapshotError::TargetExists(_))
    ));
}

#[test]
fn a_snapshot_without_a_parent_gets_its_place_when_it_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    overlay.prepare(&scope(), new("a", "")).unwrap();
    commit(&overlay, "a", "one").unwrap();
    overlay.prepare(&scope(), new("b", "")).unwrap();
    overlay.commit(&scope(), "b", "two", "one", Labels::new()).unwrap();
    assert_eq!(overlay.stat(&scope(), "two").unwrap().parent, "one");
}

#[test]
fn directories_without_a_record_are_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    overlay.prepare(&scope(), new("a", "")).unwrap();
    drop(overlay);
    std::fs::create_dir_all(dir.path().join("overlay/snapshots/7/fs")).unwrap();
    let overlay = open(dir.path());
    assert!(!dir.path().join("overlay/snapshots/7").exists());
    let mounts = overlay.prepare(&scope(), new("b", "")).unwrap();
    assert!(mounts[0].source.ends_with("/8/fs"), "a number is never used twice");
}

#[test]
fn usage_counts_a_file_with_two_names_once() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    let mounts = overlay.prepare(&scope(), new("a", "")).unwrap();
    let root = Path::new(&mounts[0].source);
    let before = overlay.usage(&scope(), "a").unwrap();
    std::fs::write(root.join("x"), vec![1; 8192]).unwrap();
    std::fs::hard_link(root.join("x"), root.join("y")).unwrap();
    let after = overlay.usage(&scope(), "a").unwrap();
    assert_eq!(after.inodes - before.inodes, 1);
    assert_eq!(after.size - before.size, 8192);
    commit(&overlay, "a", "one").unwrap();
    assert_eq!(overlay.usage(&scope(), "one").unwrap(), after);
}
