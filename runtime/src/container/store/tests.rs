use std::collections::BTreeMap;

use super::*;
use crate::container::{process::ProcessKey, record::VERSION};

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
        own_pids: true,
        keyring: true,
    }
}

#[test]
fn an_id_can_be_reserved_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("deep/root"));
    let id = "one".parse().unwrap();
    store.reserve(&id).unwrap();
    assert!(matches!(store.reserve(&id), Err(StoreError::Exists)));
}

#[test]
fn a_record_is_found_again_and_one_without_is_no_container() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().into());
    let id = "one".parse().unwrap();
    let container = store.reserve(&id).unwrap();
    assert!(matches!(store.find(&id), Err(StoreError::Absent)));
    assert!(store.list().unwrap().is_empty());

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
    let container = store.reserve(&id).unwrap();
    fs::write(container.path().join("state.json"), "{\"version\":1").unwrap();
    let err = store.find(&id).unwrap_err();
    assert!(err.to_string().contains("state.json"), "{err}");
}
