use davit_vocabulary::ErrorKind;

/// Why a container cannot be as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Malformed or contradictory.
    #[error("{0}")]
    Invalid(String),
    /// Well-formed, and not built yet.
    #[error("{0} is not supported by this engine yet")]
    Unsupported(String),
    /// No network has this name.
    #[error("failed to set up container networking: network {0} not found")]
    NetworkNotFound(String),
    /// The image's passwd has no such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    UserNotFound(String),
    /// The image's group file has no such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    GroupNotFound(String),
}

impl SpecError {
    /// A value that is wrong, in the words for the user.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// A feature by name.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::InvalidArgument,
            // A missing feature must not look like a malformed request, nor may a client retry it.
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            // Not NotFound: the docker CLI would take the image for missing, and pull it.
            Self::NetworkNotFound(_) => ErrorKind::InvalidArgument,
            Self::UserNotFound(_) | Self::GroupNotFound(_) => ErrorKind::InvalidArgument,
        }
    }
}
