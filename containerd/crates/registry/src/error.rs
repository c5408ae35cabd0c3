use davit_vocabulary::ErrorKind;

use crate::InvalidReference;

/// Why a registry could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The name is no image name.
    #[error("{0}: invalid argument")]
    Reference(#[from] InvalidReference),
    /// The registry has no such thing.
    #[error("{0}: not found")]
    NotFound(String),
    /// The registry wants other credentials, or none would do.
    #[error("pull access denied for {name}, repository does not exist or may require authorization: {reason}")]
    Unauthorized {
        /// What was asked for.
        name: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry forbids it.
    #[error("{url}: forbidden by the registry: {reason}")]
    Forbidden {
        /// What was asked for.
        url: String,
        /// What the registry said.
        reason: String,
    },
    /// The registry answered with another status than it should.
    #[error("unexpected status from {method} request to {url}: {status}")]
    Status {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// The registry does not answer, or stops in the middle.
    #[error("cannot reach the registry: {0}")]
    Transport(String),
    /// Nobody listens where the registry should be.
    #[error("cannot connect to the registry: {0}")]
    Connect(String),
    /// The registry's answer makes no sense.
    #[error("bad answer from {url}: {problem}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The client's callback for credentials failed.
    #[error("cannot get credentials: {0}")]
    Credentials(String),
    /// The client cannot be set up.
    #[error("cannot set up the registry client: {0}")]
    Setup(String),
}

impl RegistryError {
    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference(_) => ErrorKind::InvalidArgument,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Unauthorized { .. } | Self::Credentials(_) => ErrorKind::Unauthenticated,
            Self::Forbidden { .. } => ErrorKind::PermissionDenied,
            Self::Status { .. } => ErrorKind::Unknown,
            Self::Transport(_) | Self::Connect(_) => ErrorKind::Unavailable,
            Self::Answer { .. } => ErrorKind::DataLoss,
            Self::Setup(_) => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status { status, .. } => *status == 429 || *status == 408 || *status >= 500,
            _ => false,
        }
    }
}

/// An error of the HTTP client with all its causes: the outermost alone says next to nothing.
pub(crate) fn transport(error: &reqwest::Error) -> RegistryError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        match cause.downcast_ref::<std::io::Error>() {
            Some(system) => text.push_str(&system_text(system)),
            None => text.push_str(&cause.to_string()),
        }
        source = cause.source();
    }
    match error.is_connect() {
        true => RegistryError::Connect(text),
        false => RegistryError::Transport(text),
    }
}

/// The system's words as other programs print them: "connection refused", without the number.
fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(_) => text.split(" (os error").next().unwrap_or_default().to_lowercase(),
        None => text,
    }
}
