use std::sync::Arc;

use crate::oci::Reference;

/// How far a transfer is with one thing, in containerd's terms.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What happens: `waiting`, `downloading`, `complete`, `already exists`, `extracting`, `extracted`, `saved`, or a text.
    pub event: String,
    /// The thing.
    pub name: String,
    /// What it is a part of.
    pub parents: Vec<String>,
    /// Bytes done.
    pub progress: u64,
    /// Bytes in all.
    pub total: u64,
    /// The blob.
    pub descriptor: Option<Reference>,
}

/// Hears of progress; must not block for long.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn(Progress) + Send + Sync>);

impl Reporter {
    /// A reporter that tells `hear`.
    pub fn new(hear: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// A reporter that nobody hears.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Tells of a step of the whole transfer.
    pub fn step(&self, event: impl Into<String>) {
        (self.0)(Progress {
            event: event.into(),
            ..Progress::default()
        });
    }

    /// Tells how far a blob is.
    pub fn blob(&self, event: &str, blob: &Reference, parents: &[String], progress: u64) {
        (self.0)(Progress {
            event: event.into(),
            name: blob.write_ref(),
            parents: parents.to_vec(),
            progress,
            total: blob.size,
            descriptor: Some(blob.clone()),
        });
    }

    /// Tells that an image has its name.
    pub fn saved(&self, name: &str, target: &Reference) {
        (self.0)(Progress {
            event: "saved".into(),
            name: name.into(),
            descriptor: Some(target.clone()),
            ..Progress::default()
        });
    }
}
