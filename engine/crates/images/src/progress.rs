//! What a pull or a load tells while it works.

use std::collections::HashMap;

use davit_containerd_api::types::transfer;
use davit_vocabulary::Digest;

use crate::{ProgressSender, Reference};

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
    /// A line of a load, without its end: `Loaded image: busybox:latest`.
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

/// Turns containerd's events about content into Docker's lines about layers, each state once.
pub(crate) struct LayerLines {
    reference: Reference,
    has_begun: bool,
    states: HashMap<Digest, LayerState>,
}

impl LayerLines {
    pub(crate) fn new(reference: &Reference) -> Self {
        Self {
            reference: reference.clone(),
            has_begun: false,
            states: HashMap::new(),
        }
    }

    /// Tells what an event means for a layer; events about other content mean nothing.
    pub(crate) async fn tell(&mut self, event: transfer::Progress, progress: &ProgressSender) {
        let Some(descriptor) = &event.desc else { return };
        self.begin(progress).await;
        let Ok(digest) = descriptor.digest.parse::<Digest>() else {
            return;
        };
        if !is_layer(&descriptor.media_type) {
            return;
        }
        let state = match event.event.as_str() {
            "waiting" => LayerState::Queued,
            "already exists" => LayerState::AlreadyExists,
            "downloading" => LayerState::Downloading {
                current: event.progress,
                total: event.total,
            },
            "complete" => LayerState::Downloaded,
            "extracting" => LayerState::Extracting {
                current: event.progress,
                total: event.total,
            },
            "extracted" => LayerState::Done,
            _ => return,
        };
        self.move_to(digest, state, progress).await;
    }

    /// The layer is unpacked, whatever was told of it.
    pub(crate) async fn finish(&mut self, digest: &Digest, progress: &ProgressSender) {
        let state = match self.states.get(digest) {
            None | Some(LayerState::AlreadyExists) => LayerState::AlreadyExists,
            Some(_) => LayerState::Done,
        };
        self.begin(progress).await;
        self.move_to(digest.clone(), state, progress).await;
    }

    /// The first line is due when the registry has answered: before that a failure is a failure of the whole call.
    async fn begin(&mut self, progress: &ProgressSender) {
        if !std::mem::replace(&mut self.has_begun, true) {
            let tag = match (self.reference.digest(), self.reference.tag()) {
                (Some(digest), _) => digest.to_string(),
                (None, tag) => tag.unwrap_or("latest").into(),
            };
            let repository = self.reference.path().to_owned();
            let _ = progress.send(Progress::PullingFrom { tag, repository }).await;
        }
    }

    async fn move_to(&mut self, digest: Digest, state: LayerState, progress: &ProgressSender) {
        let id = digest.hex()[..12].to_owned();
        if self.states.insert(digest, state) != Some(state) {
            let _ = progress.send(Progress::Layer { id, state }).await;
        }
    }
}

/// Layers of Docker's and the OCI's media types, compressed or not.
fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.") || media_type.contains("docker.image.rootfs.")
}
