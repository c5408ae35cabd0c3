//! What a pull or a load tells while it works.

use davit_vocabulary::Digest;

/// One thing to tell the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// First line of a pull: the tag (or digest) and the path of the repository.
    PullingFrom {
        /// Tag or digest.
        tag: String,
        /// `library/busybox`, or `localhost:5000/busybox`.
        repository: String,
    },
    /// A layer got further.
    Layer {
        /// The first twelve digits of its digest.
        id: String,
        /// How far it is.
        state: LayerState,
    },
    /// The digest that was pulled.
    Digest(Digest),
    /// Last line of a pull.
    Status(String),
    /// A line of a load: `Loaded image: busybox:latest`.
    Stream(String),
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Known, not begun.
    Queued,
    /// All there before the pull began.
    AlreadyExists,
    /// Bytes so far and in all.
    Downloading {
        /// Bytes here.
        current: i64,
        /// Bytes in all.
        total: i64,
    },
    /// All bytes are here and verified.
    Downloaded,
    /// Being unpacked.
    Extracting {
        /// Bytes unpacked.
        current: i64,
        /// Bytes in all.
        total: i64,
    },
    /// Unpacked.
    Done,
}

impl LayerState {
    /// Docker's words for it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Queued => "Pulling fs layer",
            Self::AlreadyExists => "Already exists",
            Self::Downloading { .. } => "Downloading",
            Self::Downloaded => "Download complete",
            Self::Extracting { .. } => "Extracting",
            Self::Done => "Pull complete",
        }
    }

    /// Bytes so far and in all, where the state has them.
    pub fn bytes(self) -> Option<(i64, i64)> {
        match self {
            Self::Downloading { current, total } | Self::Extracting { current, total } => Some((current, total)),
            _ => None,
        }
    }
}
