//! pids: how many tasks there may be.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::Need;
use crate::{Result, control_file};

pub(crate) fn needs(resources: &LinuxResources) -> Option<Need> {
    limit(resources)
        .filter(|limit| limit != "max")
        .map(|_| ("pids", "pids.limit"))
}

pub(crate) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    limit(resources).map_or(Ok(()), |limit| control_file::write(dir, "pids.max", &limit))
}

/// What goes into `pids.max`, v1 or v2. 0 is what engines write for "not given", a negative number is no limit.
pub(crate) fn limit(resources: &LinuxResources) -> Option<String> {
    match resources.pids().as_ref()?.limit() {
        0 => None,
        limit if limit < 0 => Some("max".into()),
        limit => Some(limit.to_string()),
    }
}
