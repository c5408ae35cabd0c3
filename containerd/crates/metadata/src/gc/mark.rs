//! Tri-color marking, with no database in sight.

use std::collections::HashSet;

/// The kind of a collectable object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A blob; the key is its digest.
    Content,
    /// A snapshot; the key is `<snapshotter>/<key>`.
    Snapshot,
    /// An image; the key is its name.
    Image,
    /// A container; the key is its id. Never collected, but others may hang on it.
    Container,
    /// An unfinished write; the key is its ref.
    Ingest,
}

/// An object in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub namespace: String,
    /// Which it is.
    pub key: String,
    /// Held alone, without what it refers to.
    pub flat: bool,
}

impl Node {
    /// An object that is held with all it refers to.
    pub fn new(kind: Kind, namespace: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            key: key.into(),
            flat: false,
        }
    }

    /// The same object, held alone or not.
    pub fn flat(self, flat: bool) -> Self {
        Self { flat, ..self }
    }
}

/// Every node that a root leads to, the roots included. The nodes returned are never [`Node::flat`].
///
/// `references` names what one node refers to; it is asked once a node and may name the same node twice or in a circle.
pub fn reachable(roots: impl IntoIterator<Item = Node>, references: impl Fn(&Node) -> Vec<Node>) -> HashSet<Node> {
    let mut gray: Vec<Node> = Vec::new();
    let mut seen: HashSet<Node> = HashSet::new();
    let mut black: HashSet<Node> = HashSet::new();
    for root in roots {
        if seen.insert(root.clone()) {
            gray.push(root);
        }
    }
    while let Some(node) = gray.pop() {
        for target in references(&node) {
            if seen.insert(target.clone()) {
                gray.push(target);
            }
        }
        black.insert(node.flat(false));
    }
    black
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(key: usize) -> Node {
        Node::new(Kind::Content, "n", key.to_string())
    }

    fn walk(roots: &[usize], edges: &[(usize, usize)]) -> HashSet<usize> {
        let found = reachable(roots.iter().map(|key| node(*key)), |from| {
            let from: usize = from.key.parse().unwrap();
            edges
                .iter()
                .filter(|edge| edge.0 == from)
                .map(|edge| node(edge.1))
                .collect()
        });
        found.into_iter().map(|node| node.key.parse().unwrap()).collect()
    }

    #[test]
    fn circles_and_islands_are_told_apart() {
        assert_eq!(walk(&[1], &[(1, 2), (2, 1), (3, 4)]), HashSet::from([1, 2]));
        assert_eq!(walk(&[], &[(1, 2)]), HashSet::new());
    }

    #[test]
    fn a_node_held_alone_and_held_whole_is_one_node() {
        let roots = [node(1).flat(true), node(1)];
        let found = reachable(roots, |from| if from.flat { vec![] } else { vec![node(2)] });
        assert!(found.contains(&node(2)), "the whole hold wins");
    }

    proptest! {
        #[test]
        fn a_node_is_found_exactly_when_a_path_leads_to_it(
            roots in prop::collection::vec(0usize..8, 0..3),
            edges in prop::collection::vec((0usize..8, 0usize..8), 0..16),
        ) {
            let mut expected: HashSet<usize> = roots.iter().copied().collect();
            for _ in 0..8 {
                let next: Vec<usize> = edges.iter().filter(|e| expected.contains(&e.0)).map(|e| e.1).collect();
                expected.extend(next);
            }
            prop_assert_eq!(walk(&roots, &edges), expected);
        }
    }
}
