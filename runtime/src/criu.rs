//! Checkpoint and restore through CRIU: how a `criu` is started, asked and ended, and what of a container is outside of
//! its image.
//!
//! What always holds: criu is a child of ours with a socket to us, and gives up and takes back what it did when that
//! closes. Mounts that a restore needs are made in criu's own mount namespace: no kill at any step leaves one behind.

pub mod excerpt;
pub mod external;
pub mod mountpoints;
pub mod options;
pub mod stage;
pub mod worker;

use std::path::PathBuf;

use davit_criu::{CriuReqType, TalkError, Version};

use crate::errno::CallError;

/// What criu was asked for and did not do.
#[derive(Debug, thiserror::Error)]
pub enum CriuError {
    /// It is not installed.
    #[error("exec: \"criu\": executable file not found in $PATH (install criu)")]
    Missing,
    /// It could not be started.
    #[error("cannot start criu: {0}")]
    Start(String),
    /// The talk broke off.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// It does not say what version it is.
    #[error("CRIU version check failed: {0}")]
    NoVersion(Box<CriuError>),
    /// It is too old.
    #[error("CRIU version {found} must be {wanted} or higher")]
    TooOld {
        /// What is installed.
        found: Version,
        /// What is needed.
        wanted: Version,
    },
    /// It is too old for something that was asked for.
    #[error("{0}")]
    Lacks(String),
    /// It does not say what it can do.
    #[error("CRIU feature check failed: {0}")]
    NoFeatures(Box<CriuError>),
    /// It, or the kernel, cannot do it.
    #[error("criu is missing features: [{0}] (the kernel must have them, too: see criu check --feature)")]
    MissingFeatures(&'static str),
    /// It tried and failed.
    #[error("criu failed: type {} errno {errno}", .kind.as_str_name())]
    Failed {
        /// What it was doing.
        kind: CriuReqType,
        /// The error number that it reports, or 0.
        errno: i32,
    },
    /// Something went wrong of which its log says more.
    #[error("{0} (see {1:?})")]
    Logged(Box<CriuError>, PathBuf),
    /// It answered something else.
    #[error("unable to parse the response {0}")]
    Unexpected(String),
    /// It did its work and then ended with an error.
    #[error("criu failed: {0}")]
    Exit(String),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}
