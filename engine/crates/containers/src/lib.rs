//! Containers: records, life cycle, streams and logs, over the gRPC API of a containerd.
//!
//! One actor a container makes its transitions serial; the record is on disk before its effect is seen. The truth about what
//! runs is the manager's: after a start of the engine the records follow it ([`Containers::open`]), never the other way round.
//! Output flows from the shim's attach socket to whoever listens, and from the shim into the log; this crate only reads both.

mod actor;
pub mod attach;
mod container;
pub mod containerd;
mod containers;
mod context;
mod create;
pub mod error;
pub mod events;
mod exec;
mod files;
pub mod id;
mod index;
pub mod logs;
pub mod names;
pub mod paths;
mod reconcile;
pub mod record;
mod rootfs;
mod store;
mod streams;

pub use container::{Container, PendingAttach, View, WaitCondition};
pub use containerd::{Containerd, Exit};
pub use containers::{Containers, Settings};
pub use context::Runtimes;
pub use create::{CreateRequest, Created};
pub use error::ContainerError;
pub use events::{Event, Events};
pub use exec::{Exec, ExecConfig, ExecState};
pub use paths::Paths;
pub use record::{Record, State, Status};
