//! Containers with a user namespace, new or joined.
//!
//! All other namespaces of such a container are to be owned by its user namespace, and made by its root: sysfs, the
//! kernel parameters and the message queues take their owner from that. So the user namespace comes first, is mapped
//! by the runtime from outside, and only then the first process is cloned from within. That takes a process in
//! between ([`passage`]), which ends as soon as the container's first process exists; a container without a user
//! namespace does without.

pub mod maps;
pub mod passage;
pub mod source;
pub mod streams;

use davit_spec::{Linux, NamespaceKind};
use rustix::{
    fs::{Gid, Uid},
    io::Errno as Kernel,
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::errno::{Attempt, CallError};

/// Whether the container is in a user namespace of its own or of somebody else's.
pub fn is_wanted(linux: &Linux) -> bool {
    linux.namespace(NamespaceKind::User).is_some()
}

/// Becomes root of the user namespace that the calling process has just entered.
///
/// An ordinary user keeps the groups: a group may be what a file is refused to, and dropping it a way around that.
pub fn become_root(keep_groups: bool) -> Result<(), CallError> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).attempt("become group 0 of", "user namespace")?;
    if !keep_groups {
        match set_thread_groups(&[]) {
            // Where /proc/self/setgroups says deny: the same reason.
            Ok(()) | Err(Kernel::PERM) => {}
            refused => refused.attempt("drop groups in", "user namespace")?,
        }
    }
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).attempt("become root of", "user namespace")
}
