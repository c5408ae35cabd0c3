use davit_vocabulary::Digest;

use super::*;
use crate::{ContentRecord, Database, Descriptor, ImageRecord, Resource, SnapshotKind, SnapshotRecord, Writer};

fn digest(n: u8) -> Digest {
    Digest::sha256([n; 32])
}

fn content(writer: &Writer, n: u8, refers_to: &[u8]) {
    let mut record = ContentRecord::new(1);
    for (index, target) in refers_to.iter().enumerate() {
        record.labels.insert(
            format!("containerd.io/gc.ref.content.l.{index}"),
            digest(*target).to_string(),
        );
    }
    writer.put(&CONTENT, "n", digest(n).as_str(), &record).unwrap();
}

fn image(writer: &Writer, name: &str, target: u8, labels: Labels) {
    let now = SystemTime::now();
    let record = ImageRecord {
        target: Descriptor {
            media_type: String::new(),
            digest: digest(target),
            size: 1,
            annotations: Labels::new(),
        },
        labels,
        created_at: now,
        updated_at: now,
    };
    writer.put(&IMAGES, "n", name, &record).unwrap();
}

fn snapshot(writer: &Writer, id: u64, key: &str, parent: Option<&str>) {
    let now = SystemTime::now();
    let record = SnapshotRecord {
        id,
        kind: SnapshotKind::Committed,
        parent: parent.map(Into::into),
        labels: Labels::new(),
        created_at: now,
        updated_at: now,
        usage: None,
    };
    writer.put(&OVERLAY_SNAPSHOTS, "n", key, &record).unwrap();
}

fn garbage_after(fill: impl FnOnce(&Writer)) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let database = Database::open(&dir.path().join("meta.db")).unwrap();
    let garbage = database.write(|writer| {
        fill(writer);
        Ok::<_, StoreError>(Graph::read(writer, SystemTime::now())?.garbage())
    });
    garbage.unwrap().nodes.into_iter().map(|node| node.key).collect()
}

#[test]
fn what_an_image_leads_to_is_kept_and_the_rest_is_not() {
    let garbage = garbage_after(|writer| {
        image(writer, "i", 1, Labels::new());
        content(writer, 1, &[2, 3]);
        content(writer, 2, &[]);
        content(writer, 3, &[]);
        content(writer, 9, &[2]);
    });
    assert_eq!(garbage, [digest(9).to_string()]);
}

#[test]
fn children_of_unneeded_snapshots_are_named_before_their_parents() {
    let garbage = garbage_after(|writer| {
        snapshot(writer, 1, "base", None);
        snapshot(writer, 2, "middle", Some("base"));
        snapshot(writer, 3, "a-top", Some("middle"));
    });
    assert_eq!(garbage, ["overlayfs/a-top", "overlayfs/middle", "overlayfs/base"]);
}

#[test]
fn a_flat_lease_keeps_a_snapshot_with_its_parents_but_no_references() {
    let garbage = garbage_after(|writer| {
        snapshot(writer, 1, "base", None);
        snapshot(writer, 2, "top", Some("base"));
        content(writer, 1, &[2]);
        content(writer, 2, &[]);
        let mut lease = LeaseRecord::default();
        lease.labels.insert("containerd.io/gc.flat".into(), "x".into());
        lease.resources.insert(Resource::snapshot("overlayfs", "top"));
        lease.resources.insert(Resource::content(&digest(1)));
        writer.put(&LEASES, "n", "l", &lease).unwrap();
    });
    assert_eq!(garbage, [digest(2).to_string()]);
}

#[test]
fn an_expired_image_goes_with_its_content() {
    let garbage = garbage_after(|writer| {
        let labels = Labels::from([("containerd.io/gc.expire".into(), "2001-02-03T04:05:06Z".into())]);
        image(writer, "old", 1, labels);
        content(writer, 1, &[]);
    });
    assert_eq!(garbage.len(), 2);
}
