//! A container as the runtime knows it between its invocations: a folder with a record, and what the kernel says.

pub mod cgroup;
pub mod checkpoint;
pub mod destroy;
pub mod hearing;
pub mod id;
pub mod launch;
pub mod limits;
pub mod process;
pub mod record;
pub mod restore;
pub mod start_gate;
pub mod status;
pub mod store;
mod undo;
