//! Seccomp profiles to BPF, cached.
//!
//! libseccomp compiles the rules ([`compile()`]); what it is too old to know, and the ENOSYS answer for system calls
//! newer than the profile, go in front of its program as instructions of our own. A profile costs milliseconds to
//! compile and containers share a few of them, so programs are kept in files ([`compile_cached`]).
//!
//! Two things always hold. A cached file is only loaded when its checksum and its profile's hash agree: a torn or
//! damaged entry costs a compilation, never protection. And what a profile asks for and we cannot do (an
//! unknown architecture) is an error, never a weaker filter.

mod cache;
mod canonical;
mod compile;
mod error;
#[cfg(test)]
mod interpreter;
pub mod names;
mod program;
mod prologue;
mod syscalls;

pub use cache::compile_cached;
pub use compile::compile;
pub use error::SeccompError;
pub use program::Program;
