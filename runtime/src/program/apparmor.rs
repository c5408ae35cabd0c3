//! The AppArmor profile that the program changes to.

use std::fs;

use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

/// Why a profile could not be set.
#[derive(Debug, thiserror::Error)]
pub enum AppArmorError {
    /// The kernel has no AppArmor, or it is off.
    #[error("apparmor: config provided but apparmor not supported")]
    Unsupported,
    /// The kernel refused.
    #[error("apparmor failed to apply profile: {0}")]
    Apply(#[from] CallError),
}

/// Refuses a profile that nobody would enforce.
fn check(profile: &str) -> Result<(), AppArmorError> {
    if profile.is_empty() {
        return Ok(());
    }
    let enabled = fs::read("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    match enabled.first() {
        Some(b'Y') => Ok(()),
        _ => Err(AppArmorError::Unsupported),
    }
}

/// Asks the kernel to change to `profile` with the next execve. To be called while the host's /proc is still the one
/// that is seen.
pub fn change_on_exec(profile: &str) -> Result<(), AppArmorError> {
    if profile.is_empty() {
        return Ok(());
    }
    check(profile)?;
    let order = format!("exec {profile}");
    let written = ProcFs::open().and_then(|proc| {
        let written = proc.write("self/attr/apparmor/exec", &order);
        // Kernels before 5.8 have no directory for each module.
        written.or_else(|_| proc.write("self/attr/exec", &order))
    });
    Ok(written.attempt("change to profile", profile)?)
}
