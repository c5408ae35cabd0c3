//! The shim's API over ttrpc: messages, clients and servers, generated from `proto/`.
//!
//! These types are rust-protobuf's, since that is what the ttrpc crate speaks; those of the gRPC side are prost's. The bytes
//! are the same: convert at the edge. The two generations of the task service differ in the package name alone, but not to
//! the compiler: `task_v2` and `task_v3` are distinct modules.
//!
//! | module | package |
//! |---|---|
//! | `task_v2`, `task_v3` | `containerd.task.v2`, `containerd.task.v3`: the task service |
//! | `sandbox` | `containerd.runtime.sandbox.v1`: the sandbox service |
//! | `forward` | `containerd.services.events.ttrpc.v1`: where a shim sends its events |
//! | `task_events` | `containerd.events`: the events of tasks |
//! | `upgrade` | `davit.shim.v1`: our shim becomes another program |
//! | `bootstrap` | `containerd.runtime.bootstrap.v1`: stdin and stdout of a shim's `start` since containerd 2.3 |
//! | `options` | `containerd.runc.v1`: options of runtimes that are called like runc |
//! | `info` | `containerd.types`: what `-info` reads and prints |
//! | `cgroups_v1`, `cgroups_v2` | `io.containerd.cgroups.v1`, `.v2`: the data of a metric |

#[allow(missing_docs, unsafe_code, clippy::all, clippy::unwrap_used, clippy::restriction)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

mod packed;

pub use generated::*;
pub use packed::{Packed, pack};
