//! Kernel parameters of the container's namespaces.

use std::collections::BTreeMap;

use crate::{
    errno::{Attempt, CallError},
    procfs::ProcFs,
};

/// Writes each parameter through the host's /proc, which no image can have forged (CVE-2025-52881). The kernel applies
/// it to the namespaces of the writer, which must have entered them.
pub fn write(parameters: &BTreeMap<String, String>) -> Result<(), CallError> {
    if parameters.is_empty() {
        return Ok(());
    }
    let proc = ProcFs::open().attempt("open", "/proc")?;
    for (name, value) in parameters {
        let path = format!("sys/{}", davit_spec::sysctl_path(name));
        proc.write(&path, value).attempt("write sysctl", name)?;
    }
    Ok(())
}
