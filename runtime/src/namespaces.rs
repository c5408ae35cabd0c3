//! Making and joining namespaces.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use davit_spec::{Linux, Namespace, NamespaceKind};
use davit_sys::clone::Fork;
use rustix::{
    fs::{CWD, Mode, OFlags, fstat, openat, stat},
    io::Errno as Kernel,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

/// An existing namespace that a container is to share.
#[derive(Debug)]
pub struct Shared {
    kind: NamespaceKind,
    fd: OwnedFd,
}

/// The flags of those that clone3 makes. The cgroup namespace is not among them: its root is the cgroup that its maker
/// is in, so the child makes it when it is in its own. Nor is the time namespace, whose offsets can be written only
/// before anybody is in it, nor the user namespace, which must be mapped before the others are made.
pub fn made_by_clone(linux: &Linux) -> u64 {
    linux
        .namespaces
        .iter()
        .filter(|namespace| namespace.is_new())
        .filter(|namespace| {
            let elsewhere = [NamespaceKind::Cgroup, NamespaceKind::Time, NamespaceKind::User];
            !elsewhere.contains(&namespace.kind)
        })
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

/// The kinds of those in which the calling process is itself: a path can lead there, too.
pub fn own_among(shared: &[Shared]) -> Result<Vec<NamespaceKind>, CallError> {
    let mut kinds = Vec::new();
    for Shared { kind, fd } in shared {
        let name = kind.proc_name();
        let there = fstat(fd).attempt("inspect namespace", name)?;
        let own = stat(format!("/proc/self/ns/{name}")).attempt("inspect namespace", name)?;
        if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) {
            kinds.push(*kind);
        }
    }
    Ok(kinds)
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

/// Moves the calling process into all of them, the user namespace included, and its children into the pid namespace.
///
/// Those that the user namespace does not own can be joined only from outside of it, and those that it owns perhaps only
/// from within: so what is not permitted at first is tried again. `become_root` is called in the user namespace.
pub fn join_across<E: From<CallError>>(
    shared: &[Shared],
    become_root: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let is_user = |shared: &&Shared| shared.kind == NamespaceKind::User;
    let user = shared.iter().find(is_user);
    let mut left = Vec::new();
    for shared in shared.iter().filter(|shared| !is_user(shared)) {
        match move_into_link_name_space(shared.fd.as_fd(), Some(link_type(shared.kind))) {
            Err(Kernel::PERM) if user.is_some() => left.push(shared),
            joined => joined.attempt("join namespace", shared.kind.proc_name())?,
        }
    }
    if let Some(user) = user {
        move_into_link_name_space(user.fd.as_fd(), Some(LinkNameSpaceType::User)).attempt("join namespace", "user")?;
        become_root()?;
    }
    for shared in left {
        move_into_link_name_space(shared.fd.as_fd(), Some(link_type(shared.kind)))
            .attempt("join namespace", shared.kind.proc_name())?;
    }
    Ok(())
}

/// Runs `fork` so that its child is in a new time namespace, if the config has one; later children are not.
pub fn with_new_time(
    linux: &Linux,
    fork: impl FnOnce() -> Result<Fork, CallError>,
) -> Result<Result<Fork, CallError>, CallError> {
    if !linux.has_new(NamespaceKind::Time) {
        return Ok(fork());
    }
    let own = openat(
        CWD,
        "/proc/self/ns/time",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt("open namespace", "time")?;
    davit_sys::clone::unshare(davit_sys::clone::NEW_TIME).attempt("unshare", "time namespace")?;
    set_time_offsets("self", linux)?;
    let forked = fork();
    if !matches!(forked, Ok(Fork::Child)) {
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Time)).attempt("join namespace", "time")?;
    }
    Ok(forked)
}

/// Sets the clocks of the time namespace that the next children of a process (`self`, or its pid) will be in.
pub fn set_time_offsets(process: &str, linux: &Linux) -> Result<(), CallError> {
    if linux.time_offsets.is_empty() {
        return Ok(());
    }
    let table = davit_spec::time_offsets_table(&linux.time_offsets);
    ProcFs::open()
        .and_then(|proc| proc.write(&format!("{process}/timens_offsets"), &table))
        .attempt("set time offsets", table.trim_end())
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
