//! The content store: blobs by digest, and the writes that are not blobs yet.
//!
//! ```text
//! <root>/blobs/sha256/<hex>            a whole, verified blob; never changed
//! <root>/ingest/<sha256 of ns/ref>/    a write: ref, data, total, startedat, updatedat
//! ```
//!
//! A blob is stored once; a namespace sees it when it has a record of it, which it gets by writing the blob or by
//! naming its digest. What always holds: a record is made after its blob is durable and removed before the blob is, so a
//! crash leaves at most files without a record, which [`ContentStore::open`] removes.
//!
//! Everything here blocks; callers on an async runtime use its blocking threads.

mod blobs;
mod error;
mod info;
mod ingest;
mod store;
mod writer;

pub use blobs::BlobReader;
pub use error::ContentError;
pub use info::{Info, Status};
pub use store::ContentStore;
pub use writer::{Sink, Writer};
