//! Layers: tar archives of what one image layer adds to and removes from those below it.
//!
//! [`apply`] writes a layer into the directory of an overlay (or any directory), [`diff`] makes a layer of such a
//! directory. Both stream; the digest of the plain archive is computed in the same pass.
//!
//! An archive is a stranger's input. What always holds: every path of it is resolved by the kernel inside the directory
//! it is written to ([`Root`]), so that `..`, absolute names and symbolic links lead nowhere else; nothing in an archive
//! can make this crate panic; and a failed application leaves files only in that directory.

mod apply;
mod compression;
mod diff;
mod entries;
mod error;
mod name;
mod pipeline;
mod root;

pub use apply::{Applied, Target, apply};
pub use compression::Compression;
pub use diff::diff;
pub use entries::{Guarded, for_each_entry};
pub use error::ArchiveError;
pub use name::{EntryName, Whiteout};
pub use pipeline::{PlainStream, with_plain};
pub use root::Root;
