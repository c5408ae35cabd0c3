//! What users write on the command line, turned into what the API takes.

mod bytes;
mod create;
mod device;
mod env_file;
mod filters;
mod leave;
mod mounts;
mod network;
mod pairs;
mod process;
mod resources;
mod security;
mod since;
mod ulimit;

#[cfg(test)]
mod tests;

pub use create::{CreateFlags, CreateRequest, PullPolicy, StreamFlags};
pub use env_file::environment;
pub use filters::filters;
pub use leave::LeaveFlags;
pub use since::since;
