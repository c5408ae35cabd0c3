//! A client of D-Bus, as much of it as asking systemd takes: one connection, one call at a time, no thread.
//!
//! The crates there are either bring an executor (zbus) or have not been touched for years and bring a second nix and
//! a second syn (rustbus); libdbus cannot be linked into a static program. What is left is small: a line of
//! authentication, marshalling of a dozen types, and waiting with an end to it. Nothing here waits without a deadline:
//! a bus that has stopped answering costs seconds, not a node.

pub(super) mod address;
mod authentication;
mod connection;
#[cfg(test)]
pub(super) mod fake;
mod message;
mod value;
mod wire;

pub(super) use connection::{Answer, BusError, Connection};
pub(super) use message::Call;
pub(super) use value::Value;
