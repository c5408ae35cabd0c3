//! Making and joining namespaces.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use davit_spec::{Linux, Namespace, NamespaceKind};
use davit_sys::clone::Fork;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::errno::{Attempt, CallError};

/// An existing namespace that a container is to share.
#[derive(Debug)]
pub struct Shared {
    kind: NamespaceKind,
    fd: OwnedFd,
}

/// The flags of those that clone3 makes. The cgroup namespace is not among them: its root is the cgroup that its maker
/// is in, so the child makes it when it is in its own.
pub fn made_by_clone(linux: &Linux) -> u64 {
    linux
        .namespaces
        .iter()
        .filter(|namespace| namespace.is_new() && namespace.kind != NamespaceKind::Cgroup)
        .fold(0, |flags, namespace| flags | namespace.kind.clone_flag())
}

/// Opens those that have a path.
pub fn open_shared(linux: &Linux) -> Result<Vec<Shared>, CallError> {
    let shared = linux.namespaces.iter().filter(|namespace| !namespace.is_new());
    shared.map(open).collect()
}

fn open(namespace: &Namespace) -> Result<Shared, CallError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = openat(CWD, &namespace.path, flags, Mode::empty()).attempt(
        "open namespace",
        format_args!("{} {}", namespace.kind.proc_name(), namespace.path.display()),
    )?;
    Ok(Shared {
        kind: namespace.kind,
        fd,
    })
}

/// Moves the calling process into those namespaces; the mount namespace last, since it changes what paths mean.
///
/// The pid namespace is passed over: it is one for children, joined by [`with_pids_of`].
pub fn join(shared: &[Shared]) -> Result<(), CallError> {
    let (mounts, others): (Vec<_>, Vec<_>) = shared
        .iter()
        .filter(|shared| shared.kind != NamespaceKind::Pid)
        .partition(|shared| shared.kind == NamespaceKind::Mount);
    for shared in others.into_iter().chain(mounts) {
        move_into_link_name_space(shared.fd.as_fd(), Some(link_type(shared.kind)))
            .attempt("join namespace", shared.kind.proc_name())?;
    }
    Ok(())
}

/// Runs `fork` so that its child is in the shared pid namespace, if there is one; later children are not.
pub fn with_pids_of(shared: &[Shared], fork: impl FnOnce() -> io::Result<Fork>) -> Result<io::Result<Fork>, CallError> {
    let Some(pids) = shared.iter().find(|shared| shared.kind == NamespaceKind::Pid) else {
        return Ok(fork());
    };
    let own = openat(
        CWD,
        "/proc/self/ns/pid",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt("open namespace", "pid")?;
    let enter = |fd: &OwnedFd| {
        move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::ProcessID)).attempt("join namespace", "pid")
    };
    enter(&pids.fd)?;
    let forked = fork();
    // The child cannot go back, and need not.
    if !matches!(forked, Ok(Fork::Child)) {
        enter(&own)?;
    }
    Ok(forked)
}

fn link_type(kind: NamespaceKind) -> LinkNameSpaceType {
    match kind {
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Time => LinkNameSpaceType::Time,
    }
}
