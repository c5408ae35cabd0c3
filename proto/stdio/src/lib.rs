//! Standard streams between engine and shim: the URIs in `CreateTask`, and the frames on an attach socket.
//!
//! Both sides link this crate and nothing else of each other. It does no I/O: [`Stdio`] parses and prints, [`Frame`] encodes and
//! decodes.

mod frame;
mod log;
mod uri;

pub use frame::{Decoder, Frame, FrameError, INPUT_WINDOW, KEPT_OUTPUT, MAX_PAYLOAD, Stream};
pub use log::{LogDetails, LogDriver};
pub use uri::{InvalidUri, LogTarget, STDIN_ATTACHED, Stdio};
