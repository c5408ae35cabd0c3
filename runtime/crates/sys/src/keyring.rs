//! keyctl(2): a session keyring of one's own.

use std::{ffi::CStr, io};

const KEYCTL_SETPERM: libc::c_long = 5;
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
const KEYCTL_DESCRIBE: libc::c_long = 6;
/// Search permission for the user's other processes (`KEY_USR_SEARCH`).
const USER_SEARCH: u32 = 0x0008_0000;

/// Gives the calling process the session keyring `name`, new where none of that name is reachable, and lets the user's
/// other processes search it, so that an exec into the container can join it.
pub fn join_session(name: &CStr) -> io::Result<()> {
    let id = join(name)?;
    if let Some(permissions) = permissions(id)
        && permissions & USER_SEARCH == 0
    {
        // SAFETY: KEYCTL_SETPERM takes two integers.
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, id, permissions | USER_SEARCH) };
    }
    Ok(())
}

fn join(name: &CStr) -> io::Result<libc::c_long> {
    // SAFETY: the name is a C string that lives across the call.
    let id = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if id < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(id)
    }
}

/// The permission bits in "type;uid;gid;permissions;name".
fn permissions(id: libc::c_long) -> Option<u32> {
    let mut text = [0u8; 256];
    // SAFETY: the kernel writes at most the given length to the buffer.
    let length = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_DESCRIBE, id, text.as_mut_ptr(), text.len()) };
    let text = text.get(..usize::try_from(length).ok()?)?;
    let field = text.split(|b| *b == b';').nth(3)?;
    u32::from_str_radix(std::str::from_utf8(field).ok()?, 16).ok()
}
