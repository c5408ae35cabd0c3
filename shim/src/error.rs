//! What goes wrong with a task, in containerd's words where its clients read them.

use std::{io, path::PathBuf};

use davit_logs::LogError;
use davit_vocabulary::{ErrorKind, InvalidIdentifier};
use ttrpc::Code;

use crate::{bootstrap::BootstrapError, oci::OciError, rootfs::RootfsError, stdio::StdioError};

/// An error of the task service.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// No container of this id in this shim.
    #[error("container {0} not found: not found")]
    NoContainer(String),
    /// No sandbox of this id in this shim.
    #[error("sandbox {0} not found: not found")]
    NoSandbox(String),
    /// No exec of this id in the container.
    #[error("process does not exist {0}: not found")]
    NoProcess(String),
    /// The id is taken.
    #[error("id {0}: already exists")]
    Exists(String),
    /// A malformed id.
    #[error(transparent)]
    Identifier(#[from] InvalidIdentifier),
    /// Another malformed value.
    #[error("{0}")]
    Invalid(String),
    /// The process is in another state than the call needs.
    #[error("{0}: failed precondition")]
    State(String),
    /// The process has already ended.
    #[error("process already finished: not found")]
    Finished,
    /// Not offered here.
    #[error("{0} is not supported by this shim")]
    Unsupported(String),
    /// Options of the runtime.
    #[error(transparent)]
    Options(#[from] BootstrapError),
    /// The runtime.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A checkpoint of which criu has left a log.
    #[error("{source}, see {}", log.display())]
    Checkpoint {
        /// What the runtime said.
        source: Box<TaskError>,
        /// criu's log.
        log: PathBuf,
    },
    /// The root file system.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// The streams.
    #[error(transparent)]
    Stdio(#[from] StdioError),
    /// A file or system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
}

impl TaskError {
    /// Makes an [`TaskError::Io`] of an I/O error.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoContainer(_) | Self::NoSandbox(_) | Self::NoProcess(_) | Self::Finished => ErrorKind::NotFound,
            Self::Exists(_) => ErrorKind::AlreadyExists,
            Self::Identifier(_) | Self::Invalid(_) | Self::Options(_) => ErrorKind::InvalidArgument,
            Self::Stdio(StdioError::Uri(_) | StdioError::Unsupported { .. } | StdioError::Log(LogError::Option(_))) => {
                ErrorKind::InvalidArgument
            }
            Self::State(_) => ErrorKind::FailedPrecondition,
            Self::Unsupported(_) | Self::Rootfs(RootfsError::Unsupported(_)) => ErrorKind::Unimplemented,
            Self::Checkpoint { source, .. } => source.kind(),
            Self::Oci(_) | Self::Rootfs(_) | Self::Stdio(_) | Self::Io { .. } => ErrorKind::Unknown,
        }
    }
}

impl From<TaskError> for ttrpc::Error {
    fn from(error: TaskError) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NOT_FOUND,
            ErrorKind::AlreadyExists => Code::ALREADY_EXISTS,
            ErrorKind::InvalidArgument => Code::INVALID_ARGUMENT,
            ErrorKind::FailedPrecondition => Code::FAILED_PRECONDITION,
            ErrorKind::Unimplemented => Code::UNIMPLEMENTED,
            _ => Code::UNKNOWN,
        };
        ttrpc::Error::RpcStatus(ttrpc::get_status(code, error))
    }
}
