//! Making the container's file system, by file descriptor.
//!
//! No path inside the root is ever handed to the kernel but through the [`gate`]: every lookup is confined to the root
//! by `openat2(RESOLVE_IN_ROOT)`, so neither a symlink in an image nor a race in a shared volume reaches the host.
//! Mounts are made detached and then put on an already opened place.

mod bind;
mod by_path;
pub mod cgroup_mount;
pub mod copy_up;
pub mod devices;
pub mod filesystem;
pub mod gate;
pub mod host_mount;
pub mod idmap;
pub mod masks;
pub mod mount;
mod no_pivot;
pub mod options;
pub mod pivot;
pub mod planned;
pub mod source;
pub mod sysctl;
