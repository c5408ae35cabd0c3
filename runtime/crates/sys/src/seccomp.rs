//! seccomp(2): putting a compiled filter on the calling thread.

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

pub use libc::sock_filter as Instruction;
use libc::sock_fprog;

/// The most instructions the kernel takes in one filter (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Log every action but allow (`SECCOMP_FILTER_FLAG_LOG`, Linux 4.14).
pub const FLAG_LOG: u32 = 1 << 1;
/// Leave speculative store bypass on (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`, Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// Answer with a listener fd (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// A notified call can only be interrupted by fatal signals (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Adds `program` to the filters of the calling thread; returns the listener when [`FLAG_NEW_LISTENER`] is among `flags`.
///
/// The caller has either `no_new_privs` set or CAP_SYS_ADMIN in its user namespace, else the kernel answers EACCES.
pub fn set_filter(flags: u32, program: &[Instruction]) -> io::Result<Option<OwnedFd>> {
    if program.is_empty() || program.len() > MAX_INSTRUCTIONS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let fprog = sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: fprog and the instructions it points to live across the call, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&fprog),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with FLAG_NEW_LISTENER a non-negative answer is a fresh fd that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// Whether the running kernel knows `action` (one of the `SECCOMP_RET_*` values).
pub fn action_available(action: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;
    // SAFETY: the kernel reads one u32 through the pointer, which lives across the call.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_GET_ACTION_AVAIL,
            0,
            std::ptr::from_ref(&action),
        ) == 0
    }
}
