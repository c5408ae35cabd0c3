//! Snapshots: layered directories that become root file systems.
//!
//! ```text
//! <root>/snapshots/<number>/fs       what this snapshot adds to its parents
//! <root>/snapshots/<number>/work     overlayfs' own, of active snapshots
//! ```
//!
//! Prepare makes an active snapshot over a committed one, View a read-only one, Commit turns an active snapshot into a
//! committed one under another name, Remove takes one that is nobody's parent away.
//!
//! What always holds: a directory is there before its record and goes after it, so that a crash leaves at most
//! directories without a record, which [`Overlay::open`] and [`Overlay::cleanup`] remove; and what a committed snapshot
//! holds was on disk before the record said so.

mod error;
mod info;
mod mount;
mod overlay;
mod usage;

pub use error::SnapshotError;
pub use info::Info;
pub use mount::{Layer, Mount};
pub use overlay::{NAME, Overlay, Preparation};
