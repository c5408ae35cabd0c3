//! Why a call on images failed, in the words that Docker's clients read.

use std::io;

use davit_vocabulary::{Digest, ErrorKind, InvalidDigest};
use tonic::Code;

use crate::reference::InvalidReference;

/// A failed call. The texts of the first variants are Docker's, since clients match them.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has this name or id.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// Not a reference.
    #[error(transparent)]
    InvalidReference(#[from] InvalidReference),
    /// A tag was given where only a name may stand, or the like.
    #[error("{0}")]
    InvalidArgument(String),
    /// A `--change` that is not one.
    #[error("{0}")]
    InvalidChange(String),
    /// The registry has no such tag or digest.
    #[error("manifest for {0} not found: manifest unknown: manifest unknown")]
    ManifestUnknown(String),
    /// The registry does not let us in, or has no such repository.
    #[error("pull access denied for {0}, repository does not exist or may require 'docker login'")]
    AccessDenied(String),
    /// The registry cannot be reached, or fails.
    #[error("{0}")]
    Registry(String),
    /// The registry has the image, not for this platform.
    #[error("no matching manifest for {0} in the manifest list entries")]
    NoMatchingPlatform(String),
    /// A name cannot go because a container needs it.
    #[error(
        "conflict: unable to remove repository reference \"{reference}\" (must force) - \
         container {container} is using its referenced image {image}"
    )]
    ReferenceInUse {
        /// The name as the user gave it.
        reference: String,
        /// Short id.
        container: String,
        /// Short id.
        image: String,
    },
    /// An image cannot go; `reason` says why.
    #[error("conflict: unable to delete {image} ({how}) - {reason}")]
    DeleteConflict {
        /// Short id.
        image: String,
        /// `cannot be forced` or `must be forced`.
        how: &'static str,
        /// What is in the way.
        reason: String,
    },
    /// Content of the image is not what it must be.
    #[error("image content {digest} is invalid: {problem}")]
    InvalidContent {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A digest in stored content is malformed.
    #[error(transparent)]
    InvalidDigest(#[from] InvalidDigest),
    /// The client's stream broke or was no archive.
    #[error("reading the archive: {0}")]
    Archive(io::Error),
    /// The archive holds no image.
    #[error("the archive holds no image")]
    EmptyArchive,
    /// Nobody listens to the call any more.
    #[error("the client went away")]
    Cancelled,
    /// containerd refused.
    #[error("containerd: {call}: {}", status.message())]
    Containerd {
        /// What was asked.
        call: &'static str,
        /// Its answer.
        status: Box<tonic::Status>,
    },
}

impl ImageError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSuchImage(_) | Self::ManifestUnknown(_) | Self::AccessDenied(_) | Self::NoMatchingPlatform(_) => {
                ErrorKind::NotFound
            }
            Self::InvalidReference(_)
            | Self::InvalidArgument(_)
            | Self::InvalidChange(_)
            | Self::Archive(_)
            | Self::EmptyArchive => ErrorKind::InvalidArgument,
            Self::ReferenceInUse { .. } | Self::DeleteConflict { .. } => ErrorKind::Conflict,
            Self::InvalidContent { .. } | Self::InvalidDigest(_) => ErrorKind::DataLoss,
            Self::Registry(_) => ErrorKind::Unknown,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Containerd { status, .. } => ErrorKind::from_code(status.code() as i32),
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Containerd { status, .. } if status.code() == Code::NotFound)
    }

    pub(crate) fn is_already_exists(&self) -> bool {
        matches!(self, Self::Containerd { status, .. } if status.code() == Code::AlreadyExists)
    }
}

/// The client's archive could not be read, in the words of whoever read it: what the reader says of its own places and
/// steps in front of that is nothing to the client.
pub(crate) fn archive(text: &str) -> ImageError {
    let start = text.find("archive/tar: ").unwrap_or(0);
    ImageError::Archive(io::Error::new(io::ErrorKind::InvalidData, text[start..].to_owned()))
}

/// Turns a status into an error that says what was asked.
pub(crate) fn containerd(call: &'static str) -> impl Fn(tonic::Status) -> ImageError {
    move |status| ImageError::Containerd {
        call,
        status: Box::new(status),
    }
}
