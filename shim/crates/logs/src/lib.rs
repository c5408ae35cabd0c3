//! Container logs as files: Docker's json-file format, its splitting of long lines, and rotation.
//!
//! The reader of these files is an engine; this crate only writes them. It is synchronous and holds at most one unfinished line
//! of each stream.

mod json_file;
mod lines;
mod rotation;

pub use json_file::JsonFile;
pub use lines::LONGEST_PIECE;
pub use rotation::{InvalidOption, Rotation};

/// The stream that a piece of output came from, under its name in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
