//! Kernel parameters of the container's namespaces.

use std::collections::BTreeMap;

use crate::errno::{Attempt, CallError};

/// Writes each parameter through the host's /proc, which no image can have forged (CVE-2025-52881). The kernel applies
/// it to the namespaces of the writer, which must have entered them.
pub fn write(parameters: &BTreeMap<String, String>) -> Result<(), CallError> {
    for (name, value) in parameters {
        let path = format!("/proc/sys/{}", davit_spec::sysctl_path(name));
        std::fs::write(&path, value).attempt("write sysctl", name)?;
    }
    Ok(())
}
