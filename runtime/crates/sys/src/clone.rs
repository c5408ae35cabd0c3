//! clone3(2): a child in new namespaces and, on cgroup v2, in its cgroup from its first instruction on.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// A new mount namespace (`CLONE_NEWNS`).
pub const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// A new UTS namespace (`CLONE_NEWUTS`).
pub const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;
/// A new IPC namespace (`CLONE_NEWIPC`).
pub const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
/// A new process id namespace (`CLONE_NEWPID`).
pub const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
/// A new network namespace (`CLONE_NEWNET`).
pub const NEW_NETWORK: u64 = libc::CLONE_NEWNET as u64;
/// A new user namespace (`CLONE_NEWUSER`).
pub const NEW_USER: u64 = libc::CLONE_NEWUSER as u64;
/// A new time namespace, for children (`CLONE_NEWTIME`, Linux 5.6).
pub const NEW_TIME: u64 = 0x80;
/// A new cgroup namespace (`CLONE_NEWCGROUP`).
pub const NEW_CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;

/// Place the child in the cgroup of the given fd (`CLONE_INTO_CGROUP`, Linux 5.7).
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which of the two processes the caller is after [`fork`].
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The child's pid as the caller sees it.
        pid: i32,
        /// A handle on the child that no later process can take over.
        pidfd: OwnedFd,
    },
}

/// Forks with the namespace flags `namespaces`, into `cgroup` (a directory of the cgroup v2 hierarchy) where one is given.
///
/// The child is a copy that goes on with ordinary Rust code. That is sound only in a process with one thread, since a
/// lock held by another thread would stay locked in the child for ever: the runtime never starts a thread.
pub fn fork(namespaces: u64, cgroup: Option<BorrowedFd>) -> io::Result<Fork> {
    clone(namespaces, libc::SIGCHLD as u64, cgroup)
}

/// [`fork`] whose child is the caller's sibling: it ends for the caller's parent (`CLONE_PARENT`).
pub fn fork_sibling(namespaces: u64) -> io::Result<Fork> {
    // The kernel takes the signal at its end from the caller, and wants none to be named.
    clone(namespaces | libc::CLONE_PARENT as u64, 0, None)
}

fn clone(flags: u64, exit_signal: u64, cgroup: Option<BorrowedFd>) -> io::Result<Fork> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain integers, for which zero is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = exit_signal;
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets its own copy of memory and stack; args and pidfd live across the call.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut args),
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => Ok(Fork::Child),
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => Ok(Fork::Parent {
            pid: pid as i32,
            // SAFETY: with CLONE_PIDFD the kernel has stored a fresh fd that nobody else owns.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Leaves the process at once: no destructors, no exit handlers. What a forked child ends with.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Moves the calling process into new namespaces (unshare(2)) of the kinds in `namespaces`.
pub fn unshare(namespaces: u64) -> io::Result<()> {
    // SAFETY: only namespace flags pass, so no memory or fd table changes hands.
    check(unsafe { libc::unshare(namespaces as libc::c_int) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
