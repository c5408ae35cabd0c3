//! Bundles and shims: how a task is made, found again and taken down.
//!
//! A task lives in its shim, which the kernel keeps and which no death of this daemon touches. Here is only the way to it:
//! the bundle on disk that the shim works in, the start of the shim's program, the connection to its socket, and the map of
//! the shims that are known. What a shim says is believed; nothing about a task's state is stored.
//!
//! In reading order: [`Tasks`] (the map, creation, removal, restoration), [`Shim`] (one shim and its calls), [`Bundle`] (its
//! folder), `sandbox` (sandboxes and their calls), `launch` (its program), `bootstrap` (what that program is told and answers), `connection` (its socket).
//!
//! What always holds: a bundle exists before its shim is started and until the shim has ended; an id is in the map at most
//! once; a shim that has died is cleaned up after by one, again where that is killed, and whoever waits for its task gets the exit status.

mod binary;
mod bootstrap;
mod bundle;
mod checkpoint;
mod connection;
mod error;
mod launch;
mod log_pipe;
mod mounts;
mod restore;
mod sandbox;
mod shim;
mod strays;
mod tasks;

pub use binary::{InvalidRuntime, resolve};
pub use bundle::{Bundle, Role};
pub use checkpoint::Checkpoint;
pub use connection::CallError;
pub use error::TaskError;
pub use launch::{Launcher, Timeouts, runtime_info};
pub use restore::Restoring;
pub use sandbox::{CreateSandbox, StartedSandbox};
pub use shim::{Exit, Shim};
pub use tasks::{
    Tasks,
    create::{CreateTask, Sandboxed, Stdio},
    end::Death,
};

/// The folder below both root and state that bundles and their work folders lie in, as containerd names it.
pub const PLUGIN: &str = "io.containerd.runtime.v2.task";

/// The same for bundles of sandboxes. A shim knows a sandbox's bundle by it.
pub const SANDBOX_PLUGIN: &str = "io.containerd.sandbox.controller.v1.shim";
