//! Checkpoints in the content store: an archive of the files that criu has written, and the container's specification.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use davit_archive::ArchiveError;
use davit_content::{ContentError, ContentStore, Sink};
use davit_metadata::{Descriptor, Labels, Scope};
use davit_vocabulary::ErrorKind;
use uuid::Uuid;

/// The media type of an archive of criu's files.
pub const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/// The media type of a specification, as a protobuf Any.
pub const CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";

/// The way from a folder of criu's files into the content store.
#[derive(Clone)]
pub struct Checkpoints {
    content: ContentStore,
    /// Where such folders lie meanwhile: on a disk, for they are as large as the memory of a task.
    folder: PathBuf,
}

/// Why a checkpoint could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The folder for criu's files.
    #[error("checkpoint folder {path}: {source}")]
    Folder {
        /// Where it should be.
        path: PathBuf,
        /// Why it is not.
        source: io::Error,
    },
    /// The archive of it.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The content store.
    #[error(transparent)]
    Content(#[from] ContentError),
}

impl CheckpointError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Folder { .. } => ErrorKind::Internal,
            Self::Archive(error) => error.kind(),
            Self::Content(error) => error.kind(),
        }
    }
}

/// A folder for criu's files; dropped, it is removed with all that is in it.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
}

impl Draft {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the files of a checkpoint stay until the next start");
        }
    }
}

impl Checkpoints {
    /// Removes what an earlier run has left half-made below `root`.
    pub fn new(root: &Path, content: ContentStore) -> Self {
        let folder = root.join("checkpoints");
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %folder.display(), %error, "remove the files of earlier checkpoints");
            }
            _ => {}
        }
        Self { content, folder }
    }

    /// Makes an empty folder that nobody else reads.
    pub fn draft(&self) -> Result<Draft, CheckpointError> {
        let path = self.folder.join(Uuid::new_v4().to_string());
        match DirBuilder::new().recursive(true).mode(0o700).create(&path) {
            Ok(()) => Ok(Draft { path }),
            Err(source) => Err(CheckpointError::Folder { path, source }),
        }
    }

    /// Stores a folder that criu has filled, and the specification: two blobs in this order.
    pub fn store(&self, scope: &Scope, draft: &Draft, spec: &[u8]) -> Result<[Descriptor; 2], CheckpointError> {
        let reference = draft.path.display().to_string();
        let archive = self.write(scope, &reference, CHECKPOINT, |sink| {
            Ok(davit_archive::diff(draft.path(), sink)?)
        })?;
        davit_fail_point::reach("manager.checkpoint.archive-stored");
        let config = self.write(scope, &format!("{reference}/spec"), CONFIG, |sink| {
            Ok(sink.0.write(spec)?)
        })?;
        Ok([archive, config])
    }

    /// A failed write is given up; one whose blob exists is as good as any.
    fn write(
        &self,
        scope: &Scope,
        reference: &str,
        media_type: &str,
        fill: impl FnOnce(&mut Sink) -> Result<(), CheckpointError>,
    ) -> Result<Descriptor, CheckpointError> {
        let mut sink = Sink(self.content.writer(scope, reference, None, 0)?);
        let filled = fill(&mut sink);
        let (digest, size) = (sink.0.digest(), sink.0.offset());
        davit_fail_point::reach("manager.checkpoint.content-written");
        let written = filled.and_then(|()| match sink.0.commit(None, None, Labels::new()) {
            Ok(_) | Err(ContentError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        });
        written.inspect_err(|_| drop(self.content.abort(scope, reference)))?;
        Ok(Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: Labels::new(),
        })
    }
}
