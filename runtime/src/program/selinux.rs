//! The SELinux context that the program, and what it makes, gets.
//!
//! The next execve and the next keyring are labelled by writes to /proc; the kernel forgets both with the execve.

use std::fs;

use rustix::{
    fs::{StatVfsMountFlags, statfs, statvfs},
    io::Errno as Kernel,
};

use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

const FILE_SYSTEM: &str = "/sys/fs/selinux";
/// `SELINUX_MAGIC` of include/uapi/linux/magic.h.
const FILE_SYSTEM_MAGIC: i64 = 0xf97c_ff8c;

/// Why a context cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SelinuxError {
    /// The kernel has no SELinux, or it is off.
    #[error("selinux label is specified in config, but selinux is disabled or not supported")]
    Disabled,
    /// The kernel refused.
    #[error("can't set process label: {0}")]
    Apply(#[from] CallError),
}

/// Refuses a context that nobody would enforce.
pub fn check(label: &str) -> Result<(), SelinuxError> {
    match label.is_empty() || is_enabled() {
        true => Ok(()),
        false => Err(SelinuxError::Disabled),
    }
}

/// As libselinux decides: its file system is there to be written to, and a policy is loaded.
fn is_enabled() -> bool {
    let is_mounted = statfs(FILE_SYSTEM).is_ok_and(|stat| stat.f_type == FILE_SYSTEM_MAGIC)
        && statvfs(FILE_SYSTEM).is_ok_and(|stat| !stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    // Before a policy is loaded everybody is called the kernel.
    is_mounted && fs::read("/proc/self/attr/current").is_ok_and(|label| !label.starts_with(b"kernel\0"))
}

/// Labels the keyrings that the process makes.
pub fn label_keyrings(label: &str) -> Result<(), SelinuxError> {
    if label.is_empty() {
        return Ok(());
    }
    match ProcFs::open().and_then(|proc| proc.write("thread-self/attr/keycreate", label)) {
        // Linux before 2.6.18.
        Err(errno) if errno.is(Kernel::NOENT) => Ok(()),
        written => Ok(written.attempt("label keyrings", label)?),
    }
}

/// Asks the kernel to change to `label` with the next execve. To be called while the host's /proc is still the one that
/// is seen.
pub fn change_on_exec(label: &str) -> Result<(), SelinuxError> {
    if label.is_empty() {
        return Ok(());
    }
    let written = ProcFs::open().and_then(|proc| proc.write("thread-self/attr/exec", label));
    Ok(written.attempt("change to label", label)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_of_the_kernel_without_a_label() {
        assert!(check("").is_ok() && label_keyrings("").is_ok() && change_on_exec("").is_ok());
    }

    #[test]
    fn a_label_is_refused_where_nobody_enforces_it() {
        if is_enabled() {
            eprintln!("not shown: SELinux is enabled here");
            return;
        }
        assert!(matches!(
            check("system_u:system_r:container_t:s0"),
            Err(SelinuxError::Disabled)
        ));
    }
}
