//! rdma: handles and objects per device. The file is the same on v1 and v2.

use std::path::Path;

use oci_spec::runtime::LinuxResources;

use super::Need;
use crate::{Result, control_file};

pub(crate) fn needs(resources: &LinuxResources) -> Option<Need> {
    resources
        .rdma()
        .as_ref()
        .is_some_and(|limits| !limits.is_empty())
        .then_some(("rdma", "rdma"))
}

pub(crate) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    for (device, limits) in resources.rdma().iter().flatten() {
        let mut line = device.clone();
        for (name, limit) in [
            ("hca_handle", limits.hca_handles()),
            ("hca_object", limits.hca_objects()),
        ] {
            if let Some(limit) = limit {
                line.push_str(&format!(" {name}={limit}"));
            }
        }
        control_file::write(dir, "rdma.max", &line)?;
    }
    Ok(())
}
