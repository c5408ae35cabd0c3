//! Why a call on containers failed, in the words that Docker's clients read.

use davit_engine_images::ImageError;
use davit_engine_network::NetworkError;
use davit_engine_spec::SpecError;
use davit_vocabulary::ErrorKind;

/// A failed call. The texts are Docker's wherever Docker has one, since clients match them.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// The id's beginning fits several containers.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// No exec has this id.
    #[error("No such exec instance: {0}")]
    NoSuchExec(String),
    /// A name with other characters.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// The name belongs to another container.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameInUse {
        /// The name.
        name: String,
        /// Whose it is.
        holder: String,
    },
    /// The call needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// Nothing to do: it runs already, or does not run.
    #[error("nothing to do")]
    NotModified,
    /// A container must stop before it goes.
    #[error(
        "cannot remove container \"{0}\": container is running: stop the container before removing or force remove"
    )]
    RemoveRunning(String),
    /// It is on its way out.
    #[error("removal of container {0} is already in progress")]
    RemovalInProgress(String),
    /// A container marked for removal does nothing else.
    #[error("container is marked for removal and cannot be started")]
    MarkedForRemoval,
    /// The process could not be started; the text is the runtime's.
    #[error("{text}")]
    Start {
        /// For the user.
        text: String,
        /// 126 or 127 where the command itself is to blame, else 128.
        code: i32,
    },
    /// Logs of a driver that keeps none.
    #[error("configured logging driver does not support reading")]
    LogsNotReadable,
    /// Wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// At odds with the state of something.
    #[error("{0}")]
    Conflict(String),
    /// Not built yet.
    #[error("{0} is not supported by this engine yet")]
    Unsupported(String),
    /// A container cannot be as asked.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The image is the reason.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The network is the reason.
    #[error("failed to set up container networking: {0}")]
    Network(#[from] NetworkError),
    /// The store is the reason.
    #[error("engine store: {0}")]
    Store(String),
    /// A file is the reason.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The manager refused or is away.
    #[error("containerd: {call}: {}", status.message())]
    Containerd {
        /// What was asked.
        call: &'static str,
        /// Its answer.
        status: Box<tonic::Status>,
    },
    /// The shim's attach socket failed.
    #[error("attach: {0}")]
    Attach(String),
    /// The engine goes down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

impl ContainerError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchContainer(_) | Self::NoSuchExec(_) => ErrorKind::NotFound,
            Self::Ambiguous(_) | Self::InvalidName(_) | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::NameInUse { .. }
            | Self::NotRunning(_)
            | Self::RemoveRunning(_)
            | Self::RemovalInProgress(_)
            | Self::MarkedForRemoval
            | Self::Conflict(_) => ErrorKind::Conflict,
            Self::NotModified => ErrorKind::NotModified,
            Self::Start { code: 126 | 127, .. } => ErrorKind::InvalidArgument,
            Self::Start { .. } | Self::Store(_) | Self::File { .. } | Self::Attach(_) => ErrorKind::Internal,
            Self::LogsNotReadable | Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::Spec(error) => error.kind(),
            Self::Image(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::Containerd { status, .. } => match ErrorKind::from_code(status.code() as i32) {
                // What containerd does not find is nothing that the client named.
                ErrorKind::NotFound | ErrorKind::InvalidArgument => ErrorKind::Internal,
                kind => kind,
            },
            Self::ShuttingDown => ErrorKind::Unavailable,
        }
    }

    /// Whether the manager says that the thing is not there.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Containerd { status, .. } if status.code() == tonic::Code::NotFound)
    }
}

/// Names the file in an I/O error.
pub(crate) fn file<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> ContainerError + 'a {
    move |source| ContainerError::File {
        action,
        path: path.display().to_string(),
        source,
    }
}

/// Turns a status into an error that says what was asked.
pub(crate) fn containerd(call: &'static str) -> impl Fn(tonic::Status) -> ContainerError {
    move |status| ContainerError::Containerd {
        call,
        status: Box::new(status),
    }
}
