use std::{collections::BTreeMap, ffi::OsStr, os::unix::ffi::OsStrExt};

use super::*;
use crate::{
    container::{process::ProcessKey, record::VERSION},
    state,
};

fn record(id: &str) -> Record {
    Record {
        version: VERSION,
        id: id.into(),
        oci_version: "1.2.1".into(),
        init: ProcessKey { pid: 1, start_time: 2 },
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        created: "2026-11-21T00:00:00Z".into(),
        annotations: BTreeMap::from([("key".into(), "value".into())]),
        cgroup_paths: BTreeMap::from([("memory".into(), "/sys/fs/cgroup/memory/x".into())]),
        cgroup_manager: davit_cgroup::Manager::default(),
        root_mount: None,
        intel_rdt: None,
        own_pids: true,
        keyring: true,
        earlier_oom_kills: 0,
    }
}

#[test]
fn an_id_can_be_reserved_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("deep/root"));
    let id = "one".parse().unwrap();
    store.reserve(&id, b"{}").unwrap();
    assert!(matches!(store.reserve(&id, b"{}"), Err(StoreError::Exists)));
}

#[test]
fn a_record_is_found_again_and_one_without_is_no_container() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let id = "one".parse().unwrap();
    let (container, _claim) = store.reserve(&id, b"{}").unwrap();
    assert!(matches!(store.find(&id), Err(StoreError::Absent)));
    assert!(matches!(store.list().unwrap()[..], [(_, Err(StoreError::Absent))]));

    container.save(&record("one")).unwrap();
    let (_, found) = store.find(&id).unwrap();
    assert_eq!(found.init, ProcessKey { pid: 1, start_time: 2 });
    assert_eq!(found.annotations["key"], "value");
    assert_eq!(store.list().unwrap().len(), 1);

    container.remove().unwrap();
    assert!(matches!(store.find(&id), Err(StoreError::Absent)));
}

#[test]
fn a_damaged_record_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let id = "one".parse().unwrap();
    let (container, _claim) = store.reserve(&id, b"{}").unwrap();
    fs::write(container.path().join("state.json"), "{\"version\":1").unwrap();
    let err = store.find(&id).unwrap_err();
    assert!(err.to_string().contains("state.json"), "{err}");
}

#[test]
fn a_record_that_json_cannot_name_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let (container, _claim) = store.reserve(&"one".parse().unwrap(), b"{}").unwrap();
    let record = Record {
        bundle: OsStr::from_bytes(b"/b\xff").into(),
        ..record("one")
    };
    for kept in [container.save_plan(&record), container.save(&record)] {
        assert!(kept.unwrap_err().to_string().contains("UTF-8"));
    }
    assert!(state::for_hook(&record, 1, "running").is_err());
    assert!(state::for_agent(&record, "running", 1, "").is_err());
}

#[test]
fn what_a_creation_has_left_says_whose_the_cgroup_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let id = "one".parse().unwrap();
    let (container, _claim) = store.reserve(&id, b"{}").unwrap();
    assert!(container.plan().is_none());
    container.save_plan(&record("one")).unwrap();
    let plan = container.plan().unwrap();
    assert_eq!((plan.cgroup_is_made, plan.maker), (false, ProcessKey::own()));
    container.cgroup_is_made().unwrap();
    let plan = container.plan().unwrap();
    assert_eq!((plan.cgroup_is_made, plan.maker), (true, ProcessKey::own()));
    assert!(container.is_being_made());
    container.container_is_made().unwrap();
    assert!(!container.is_being_made());
    let plan = container.plan().unwrap();
    assert_eq!((plan.cgroup_is_made, plan.maker), (true, None));
    assert!(matches!(store.find(&id), Err(StoreError::Absent)));
}

#[test]
fn a_claim_is_waited_for_and_finds_a_folder_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let (container, claim) = store.reserve(&"one".parse().unwrap(), b"{}").unwrap();
    let waiting = {
        let container = container.clone();
        std::thread::spawn(move || container.claim().unwrap().is_none())
    };
    container.remove().unwrap();
    drop(claim);
    assert!(waiting.join().unwrap());
}

#[test]
fn whatever_lies_under_a_containers_name_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    fs::write(folder.path().join("file"), "junk").unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
    for name in ["file", "link"] {
        let id = name.parse().unwrap();
        assert!(matches!(store.reserve(&id, b"{}"), Err(StoreError::Exists)));
        store.remains(&id).unwrap().unwrap().remove().unwrap();
        store.reserve(&id, b"{}").unwrap();
    }
}

#[test]
fn a_folder_that_another_creation_has_taken_over_is_not_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let id: ContainerId = "one".parse().unwrap();
    let mine = store.make_folder(&id).unwrap();
    mine.remove().unwrap();
    drop(store.reserve(&id, b"{}").unwrap());
    // The claim alone would be given.
    assert!(mine.claim().unwrap().is_some());
    assert!(matches!(store.reserve(&id, b"{}"), Err(StoreError::Exists)));
}
