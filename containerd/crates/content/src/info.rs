use std::{borrow::Cow, time::SystemTime};

use davit_metadata::{
    ContentRecord, Labels,
    filter::{Fields, label},
};
use davit_vocabulary::Digest;

/// A blob as a namespace sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Its labels in this namespace.
    pub labels: Labels,
    /// When the namespace got it.
    pub created_at: SystemTime,
    /// When its labels were last changed.
    pub updated_at: SystemTime,
}

impl Info {
    pub(crate) fn new(digest: Digest, record: ContentRecord) -> Self {
        Self {
            digest,
            size: record.size,
            labels: record.labels,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Fields for Info {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path[0].as_str() {
            "digest" => Some(self.digest.as_str().into()),
            "size" => Some(self.size.to_string().into()),
            "labels" => label(&self.labels, &path[1..]),
            _ => None,
        }
    }
}

/// How far a write is.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The client's name for the write.
    pub reference: String,
    /// Bytes written.
    pub offset: u64,
    /// Bytes promised; 0 where nothing was.
    pub total: u64,
    /// The digest promised.
    pub expected: Option<Digest>,
    /// When it began.
    pub started_at: SystemTime,
    /// When it last grew.
    pub updated_at: SystemTime,
}

impl Fields for Status {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        (path[0] == "ref").then(|| self.reference.as_str().into())
    }
}
