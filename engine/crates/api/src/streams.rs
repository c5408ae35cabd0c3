//! Byte streams between a client and a process.

pub mod detach;
pub mod hijack;
pub mod session;
pub mod stdcopy;

use crate::version::ApiVersion;

/// The content type of a stream; clients before 1.42 know one only.
pub fn media_type(tty: bool, client: ApiVersion) -> &'static str {
    if tty || client < ApiVersion::minor(42) {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    }
}
