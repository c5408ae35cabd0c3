//! The journal of task events: `<root>/events`, where a subscriber that was away finds what it has missed.
//!
//! It knows nothing of events. An entry is bytes and an identity, and gets the next number of a sequence; one whose identity is
//! held already is the same entry sent again, and is not stored again.
//!
//! It is files that are appended to rather than a table in redb: an entry is on disk after one write and one sync, whoever
//! writes metadata meanwhile; what is old goes by removing a file; and damaged bytes are an error here, where redb panics.
//!
//! # Layout (version 1)
//!
//! ```text
//! <root>/events/<number of the first entry, 20 digits>.log      segments, without a gap between them
//!
//! segment = header, records
//! header  = "davit-events" | version u32 | epoch u128 | sum u32
//! record  = length u32 | sum of the bytes u32 | identity u128 | sum u32 of all before | bytes
//! ```
//!
//! Numbers are little-endian, sums CRC-32. The epoch is drawn by lot when the journal is made; numbers of another epoch mean
//! nothing here.
//!
//! What always holds: an entry is on disk before it is told to anyone and before [`Journal::append`] returns; entries are told
//! in the order of their numbers; a number is given once in an epoch. Entries that arrive together share one sync, and one that
//! arrives alone waits for nobody.
//!
//! A file that ends in the middle of a record is what a killed writer leaves: nobody was told of that record, and it is cut
//! off. Any other byte that is not as it was written may have been told, so its number must not be given again: the journal is put
//! aside whole, and a new epoch begins.
//!
//! In reading order: [`Journal`], `writer` (the one thread that writes), `store` (the segments and the identities in them),
//! `folder` (how they are found again), `segment` (one file), `record` (bytes).

mod error;
mod folder;
mod journal;
mod record;
mod segment;
mod store;
mod writer;

pub use error::{JournalError, OutOfRange};
pub use journal::{Entry, Epoch, InvalidEpoch, Journal, Limits, Page};
