use std::{io, path::PathBuf};

use davit_archive::ArchiveError;
use davit_vocabulary::ErrorKind;

use crate::{CallError, InvalidRuntime};

/// Why a task could not be made, found or taken down. The words are containerd's, since its clients read them.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No such task.
    #[error("task {0} not found")]
    NotFound(String),
    /// A task of this id exists.
    #[error("task {0}: already exists")]
    Exists(String),
    /// A bundle cannot be made or removed.
    #[error("bundle {path}: {source}")]
    Bundle {
        /// The file or folder concerned.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive of a checkpoint cannot be unpacked.
    #[error("cannot unpack the checkpoint: {0}")]
    Checkpoint(ArchiveError),
    /// The runtime's name leads to no shim.
    #[error("failed to resolve runtime path: {0}")]
    Runtime(#[from] InvalidRuntime),
    /// The runtime's name leads to no shim that could be started.
    #[error("failed to start shim: failed to resolve runtime path: {0}")]
    NoShim(InvalidRuntime),
    /// The shim's program did not start a shim.
    #[error("failed to start shim: start failed: {0}")]
    Start(String),
    /// Whoever asked for a task went away before its shim had started.
    #[error("failed to start shim: start failed: its client went away")]
    Abandoned,
    /// The shim is of a generation that is not known here.
    #[error("failed to start shim: start failed: unsupported shim version ({0}): not implemented")]
    Newer(u32),
    /// The shim started, but its task could not be made.
    #[error("failed to create shim task: {0}")]
    Create(CallError),
    /// No such sandbox.
    #[error("unable to find sandbox {0:?}: not found")]
    NoSandbox(String),
    /// A sandbox of this id exists.
    #[error("sandbox {0} already running: already exists")]
    SandboxExists(String),
    /// The shim started, but its sandbox could not be made.
    #[error("failed to create sandbox {id}: {source}")]
    CreateSandbox {
        /// The sandbox.
        id: String,
        /// What the shim said.
        source: CallError,
    },
    /// The sandbox could not be started.
    #[error("failed to start sandbox {id}: {source}")]
    StartSandbox {
        /// The sandbox.
        id: String,
        /// What the shim said.
        source: Box<TaskError>,
    },
    /// The shim of the sandbox that a container belongs to is not known.
    #[error("failed to start shim: can't find shim for sandbox {0}: not found")]
    NoSandboxShim(String),
    /// An address of a shim that is none.
    #[error("task_api_address {0:?}: expected ttrpc+unix:// and a path: invalid argument")]
    Address(String),
    /// The process of a sandbox, which is no task of a client's.
    #[error("{0} is the process of a sandbox, which is to be removed instead: failed precondition")]
    OfSandbox(String),
    /// The shim refused a call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A shim's program refused a request that is no start.
    #[error("shim {action}: {reason}")]
    Shim {
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        reason: String,
    },
}

impl TaskError {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoSandbox(_) | Self::NoSandboxShim(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::SandboxExists(_) => ErrorKind::AlreadyExists,
            Self::Address(_) => ErrorKind::InvalidArgument,
            Self::OfSandbox(_) => ErrorKind::FailedPrecondition,
            Self::CreateSandbox { source, .. } => source.kind(),
            Self::StartSandbox { source, .. } => source.kind(),
            Self::Newer(_) => ErrorKind::Unimplemented,
            Self::Abandoned => ErrorKind::Cancelled,
            Self::Bundle { .. } => ErrorKind::Internal,
            Self::Checkpoint(error) => error.kind(),
            Self::Runtime(_) | Self::NoShim(_) | Self::Start(_) | Self::Shim { .. } => ErrorKind::Unknown,
            Self::Create(error) | Self::Call(error) => error.kind(),
        }
    }
}
