//! The labels that containerd's collector reads.

use std::time::SystemTime;

use crate::Labels;

use super::{Kind, Node};

const PREFIX: &str = "containerd.io/gc.";

/// What the labels of an object in `namespace` refer to.
pub(super) fn references(namespace: &str, labels: &Labels) -> Vec<Node> {
    targets(namespace, labels, "ref.")
}

/// The objects that the labels of an object hang it on.
pub(super) fn back_references(namespace: &str, labels: &Labels) -> Vec<Node> {
    targets(namespace, labels, "bref.")
}

/// Whether the object is kept by itself: a root by label, or not expired yet.
pub(super) fn is_root(labels: &Labels, now: SystemTime) -> bool {
    if labels.contains_key("containerd.io/gc.root") {
        return true;
    }
    expiry(labels).is_some_and(|expiry| expiry > now)
}

/// Whether the object's time is over. One without a time, or with an unreadable one, never expires.
pub(super) fn is_expired(labels: &Labels, now: SystemTime) -> bool {
    expiry(labels).is_some_and(|expiry| expiry <= now)
}

/// Whether a lease holds only what it names.
pub(super) fn is_flat(labels: &Labels) -> bool {
    labels.contains_key("containerd.io/gc.flat")
}

fn expiry(labels: &Labels) -> Option<SystemTime> {
    let text = labels.get("containerd.io/gc.expire")?;
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.into())
}

fn targets(namespace: &str, labels: &Labels, sort: &str) -> Vec<Node> {
    labels
        .range(format!("{PREFIX}{sort}")..)
        .map_while(|(key, value)| Some((key.strip_prefix(PREFIX)?.strip_prefix(sort)?, value)))
        .filter_map(|(rest, value)| target(namespace, rest, value))
        .collect()
}

fn target(namespace: &str, rest: &str, value: &str) -> Option<Node> {
    if let Some(snapshotter) = rest.strip_prefix("snapshot.") {
        let snapshotter = snapshotter.split('/').next().unwrap_or_default();
        return Some(Node::new(Kind::Snapshot, namespace, format!("{snapshotter}/{value}")));
    }
    let kind = match rest.split(['.', '/']).next().unwrap_or_default() {
        "content" => Kind::Content,
        "image" => Kind::Image,
        "container" => Kind::Container,
        _ => return None,
    };
    Some(Node::new(kind, namespace, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_labels_name_their_targets() {
        let labels = Labels::from([
            ("containerd.io/gc.ref.content.l.0".into(), "sha256:a".into()),
            ("containerd.io/gc.ref.content".into(), "sha256:b".into()),
            ("containerd.io/gc.ref.contents".into(), "sha256:c".into()),
            ("containerd.io/gc.ref.snapshot.overlayfs/x".into(), "chain".into()),
            ("containerd.io/gc.bref.container".into(), "c1".into()),
            ("containerd.io/gc.reference".into(), "no".into()),
        ]);
        let found = references("n", &labels);
        assert_eq!(
            found,
            [
                Node::new(Kind::Content, "n", "sha256:b"),
                Node::new(Kind::Content, "n", "sha256:a"),
                Node::new(Kind::Snapshot, "n", "overlayfs/chain"),
            ]
        );
        assert_eq!(back_references("n", &labels), [Node::new(Kind::Container, "n", "c1")]);
    }

    #[test]
    fn an_expiry_keeps_until_its_time() {
        let labels = Labels::from([("containerd.io/gc.expire".into(), "2000-01-01T00:00:00Z".into())]);
        assert!(!is_root(&labels, SystemTime::now()));
        assert!(is_expired(&labels, SystemTime::now()));
        assert!(is_root(&labels, SystemTime::UNIX_EPOCH));
        assert!(!is_expired(&Labels::new(), SystemTime::now()));
    }
}
