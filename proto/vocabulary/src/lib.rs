//! Identifiers and the one [`ErrorKind`] of every part but the runtime.
//!
//! An identifier is parsed once, at the edge, and never checked again: holding one is the proof that it is well-formed.
//! [`ErrorKind`] has exactly three maps: to a gRPC code, a ttrpc code and an HTTP status.

mod digest;
mod error;
mod identifier;

pub use digest::{Algorithm, Digest, InvalidDigest};
pub use error::ErrorKind;
pub use identifier::{ContainerId, ExecId, InvalidIdentifier, Namespace, SnapshotKey};
