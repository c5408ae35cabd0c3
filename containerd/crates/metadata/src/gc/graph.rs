//! The graph of all records: who is a root, and who refers to whom.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use crate::{
    CONTAINERS, CONTENT, IMAGES, INGESTS, LEASES, Labels, LeaseRecord, OVERLAY_SNAPSHOTS, Records, StoreError,
};

use super::{Kind, Node, labels, mark::reachable};

/// An unfinished write that no lease holds is kept this long.
const INGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What nothing needs any more.
#[derive(Debug, Default)]
pub struct Garbage {
    /// Objects to remove, parents of snapshots after their children.
    pub nodes: Vec<Node>,
    /// Leases (namespace, id) whose time is over.
    pub leases: Vec<(String, String)>,
}

/// A picture of all records.
#[derive(Default)]
pub struct Graph {
    all: BTreeSet<Node>,
    roots: Vec<Node>,
    edges: HashMap<Node, Vec<Node>>,
    /// Edges that a flat hold keeps too: a snapshot is nothing without its parents.
    essential: HashMap<Node, Vec<Node>>,
    expired_leases: Vec<(String, String)>,
    snapshot_ids: HashMap<Node, u64>,
}

impl Graph {
    /// Reads the picture from a transaction.
    pub fn read(view: &impl Records, now: SystemTime) -> Result<Self, StoreError> {
        let mut graph = Self::default();
        graph.read_leases(view, now)?;
        for (namespace, name, image) in view.list_all(&IMAGES)? {
            let node = Node::new(Kind::Image, &namespace, name);
            let target = Node::new(Kind::Content, &namespace, image.target.digest.as_str());
            graph.add(&node, &image.labels, now);
            graph.edge(&node, target);
            if !labels::is_expired(&image.labels, now) {
                graph.roots.push(node);
            }
        }
        for (namespace, id, container) in view.list_all(&CONTAINERS)? {
            let node = Node::new(Kind::Container, &namespace, id);
            graph.add(&node, &container.labels, now);
            if !container.snapshot_key.is_empty() {
                let key = format!("{}/{}", container.snapshotter, container.snapshot_key);
                graph.edge(&node, Node::new(Kind::Snapshot, &namespace, key));
            }
            graph.roots.push(node);
        }
        for (namespace, digest, content) in view.list_all(&CONTENT)? {
            graph.add(&Node::new(Kind::Content, &namespace, digest), &content.labels, now);
        }
        for (namespace, key, snapshot) in view.list_all(&OVERLAY_SNAPSHOTS)? {
            let node = Node::new(Kind::Snapshot, &namespace, format!("overlayfs/{key}"));
            graph.add(&node, &snapshot.labels, now);
            graph.snapshot_ids.insert(node.clone(), snapshot.id);
            if let Some(parent) = &snapshot.parent {
                let parent = Node::new(Kind::Snapshot, &namespace, format!("overlayfs/{parent}"));
                graph.essential.entry(node).or_default().push(parent);
            }
        }
        for (namespace, reference, ingest) in view.list_all(&INGESTS)? {
            let node = Node::new(Kind::Ingest, &namespace, reference);
            graph.all.insert(node.clone());
            if now.duration_since(ingest.started_at).is_ok_and(|age| age < INGEST_LIFE) {
                graph.roots.push(node);
            }
        }
        Ok(graph)
    }

    /// Everything that no root leads to.
    pub fn garbage(&self) -> Garbage {
        let kept = reachable(self.roots.iter().cloned(), |node| self.references(node));
        let mut nodes: Vec<Node> = self
            .all
            .iter()
            .filter(|node| node.kind != Kind::Container && !kept.contains(*node))
            .cloned()
            .collect();
        // A child is always made after its parent, so its number is higher.
        nodes.sort_by_key(|node| std::cmp::Reverse(self.snapshot_ids.get(node).copied().unwrap_or_default()));
        Garbage {
            nodes,
            leases: self.expired_leases.clone(),
        }
    }

    fn references(&self, node: &Node) -> Vec<Node> {
        let whole = node.clone().flat(false);
        let mut targets: Vec<Node> = Vec::new();
        for parent in self.essential.get(&whole).into_iter().flatten() {
            targets.push(parent.clone().flat(node.flat));
        }
        if !node.flat {
            targets.extend(self.edges.get(&whole).into_iter().flatten().cloned());
        }
        targets
    }

    fn add(&mut self, node: &Node, object_labels: &Labels, now: SystemTime) {
        self.all.insert(node.clone());
        if node.kind != Kind::Image && labels::is_root(object_labels, now) {
            self.roots.push(node.clone());
        }
        for target in labels::references(&node.namespace, object_labels) {
            self.edge(node, target);
        }
        for holder in labels::back_references(&node.namespace, object_labels) {
            self.edge(&holder, node.clone());
        }
    }

    fn edge(&mut self, from: &Node, to: Node) {
        self.edges.entry(from.clone()).or_default().push(to);
    }

    fn read_leases(&mut self, view: &impl Records, now: SystemTime) -> Result<(), StoreError> {
        for (namespace, id, lease) in view.list_all(&LEASES)? {
            if labels::is_expired(&lease.labels, now) {
                self.expired_leases.push((namespace, id));
                continue;
            }
            self.roots.extend(held(&namespace, &lease));
            self.roots.extend(labels::references(&namespace, &lease.labels));
        }
        Ok(())
    }
}

fn held(namespace: &str, lease: &LeaseRecord) -> Vec<Node> {
    let flat = labels::is_flat(&lease.labels);
    let nodes = lease.resources.iter().filter_map(|resource| {
        let node = match resource.kind.as_str() {
            "content" => Node::new(Kind::Content, namespace, &resource.id),
            "ingests" => Node::new(Kind::Ingest, namespace, &resource.id),
            "images" => Node::new(Kind::Image, namespace, &resource.id),
            kind => {
                let snapshotter = kind.strip_prefix("snapshots/")?;
                Node::new(Kind::Snapshot, namespace, format!("{snapshotter}/{}", resource.id))
            }
        };
        Some(node.flat(flat))
    });
    nodes.collect()
}

#[cfg(test)]
mod tests;
