//! Images as Docker users know them, over the gRPC API of a containerd.
//!
//! Docker names an image by the digest of its configuration and lets many names point at it; containerd names
//! descriptors (an index or a manifest) and knows nothing of configurations. This crate is the translation, and nothing
//! else: it links no registry client, no store and no archive reader. Pull and load are containerd's Transfer service;
//! an import writes its blobs through the Content service.
//!
//! Always true:
//! - an image's id is the digest of its configuration, whatever the manifest or index around it;
//! - every name in the store is canonical (`docker.io/library/busybox:latest`); familiar forms exist only at the edge;
//! - an image that lost its last name lives on under a `moby-dangling@sha256:…` name until it is removed.

mod catalog;
mod changes;
pub mod config;
mod content;
mod dangling;
pub mod error;
mod glob;
mod hasher;
mod history;
pub mod images;
mod import;
mod lease;
mod list;
mod load;
mod manifest;
pub mod model;
mod names;
mod platform;
pub mod progress;
mod pull;
pub mod reference;
mod remove;
mod resolve;
mod size;
mod store;
mod stream;
mod tag;
mod transfer;
mod unique;
mod unpack;
mod upload;

pub use config::{ContainerConfig, HealthConfig, ImageConfig};
pub use error::ImageError;
pub use images::{Images, ImagesConfig, ProgressSender};
pub use model::{
    Credentials, Deleted, HistoryEntry, ImageDetails, ImageSummary, ImageUse, Import, ListFilters, Platform, Pulled,
    RemoveOptions, ResolvedImage,
};
pub use progress::{LayerState, Progress};
pub use reference::{InvalidReference, Reference};

/// What calls of this crate return.
pub type Result<T> = std::result::Result<T, ImageError>;
