//! The bytes between a container and this program's standard streams.

mod conversation;
mod frames;
mod pump;
mod sink;
mod stdin;

pub use conversation::Conversation;
pub use frames::{Channel, Frames};
pub use pump::{End, Pump};
pub use sink::Sink;
pub use stdin::Stdin;
