//! Docker's log drivers, as far as they run inside the shim: how output becomes records, and where those go.
//!
//! A record is a line, or a piece of a long one ([`LONGEST_PIECE`]). File drivers write it at once. Where it must wait for a peer, or
//! must not wait for a disk, it goes through a queue of bounded size to a task ([`Delivery`]): in blocking mode the container waits
//! while the queue is full, in non-blocking mode what does not fit is dropped. The reader of files is an engine; this crate only
//! writes them.

mod delivery;
mod error;
mod file;
mod lines;
mod log;
mod options;
mod queue;
mod record;
mod remote;
mod rotation;
mod seldom;
mod state;

pub use delivery::Delivery;
pub use error::LogError;
pub use lines::LONGEST_PIECE;
pub use log::Log;
pub use options::InvalidOption;
pub use record::Source;
pub use state::LogState;
