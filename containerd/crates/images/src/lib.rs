//! Images: their names, what they consist of, and how they come here and go.
//!
//! [`Storage`] holds the stores of one manager together. Everything here blocks; callers on an async runtime use its
//! blocking threads.

mod collect;
mod error;
mod lease;
mod storage;
mod store;

pub use collect::Collected;
pub use error::ImageError;
pub use lease::{Lease, LeaseStore, Resource};
pub use storage::Storage;
pub use store::{Image, ImageChange, ImageStore};
