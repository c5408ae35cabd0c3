//! The Docker Engine API: what clients send, what they are answered, and the streams in between.
//!
//! Wire shapes stop here: `wire` is what clients send, `convert` checks it into domain types, `show` shapes answers. No handler
//! knows of the manager; none holds state of its own.

mod absent;
mod containers;
mod convert;
mod engine;
pub mod error;
mod events;
mod exec;
mod images;
mod json_stream;
mod machine;
mod networks;
mod request;
mod router;
pub mod server;
mod show;
mod streams;
mod system;
mod unread;
mod version;
mod wire;

pub use engine::{App, Engine, Identity};
pub use version::{ApiVersion, ENGINE};
