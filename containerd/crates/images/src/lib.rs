//! Images: their names, what they consist of, and how they come here and go.
//!
//! [`Storage`] holds the stores of one manager together. Everything but [`Storage::pull`] blocks; callers on an async
//! runtime use its blocking threads.

pub mod oci;

mod archive;
mod collect;
mod destination;
mod diff;
mod error;
mod export;
mod lease;
mod platform;
mod progress;
mod pull;
mod storage;
mod store;
mod transfer;
mod unpack;

pub use collect::Collected;
pub use destination::{Destination, NameRule, Unpack};
pub use diff::DiffWish;
pub use error::ImageError;
pub use export::ExportWish;
pub use lease::{Lease, LeaseStore, Resource};
pub use platform::Platform;
pub use progress::{Progress, Reporter};
pub use storage::Storage;
pub use store::{Image, ImageChange, ImageStore};
pub use unpack::chain_id;
