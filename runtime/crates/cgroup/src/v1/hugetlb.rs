//! hugetlb: huge pages, in use and reserved.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use super::Need;
use crate::{CgroupError, Result, control_file};

pub(super) fn needs(resources: &LinuxResources) -> Option<Need> {
    resources
        .hugepage_limits()
        .as_ref()
        .is_some_and(|l| !l.is_empty())
        .then_some(("hugetlb", "hugepageLimits"))
}

/// A page size is part of a file name and must not lead elsewhere.
pub(crate) fn check(resources: &LinuxResources) -> Result<()> {
    let mut sizes = resources
        .hugepage_limits()
        .iter()
        .flatten()
        .map(|limit| limit.page_size());
    match sizes.find(|size| size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
        Some(size) => Err(CgroupError::InvalidLimit(format!(
            "{size:?} is not the size of a huge page"
        ))),
        None => Ok(()),
    }
}

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        let (size, bytes) = (limit.page_size(), limit.limit().to_string());
        control_file::write(dir, &format!("hugetlb.{size}.limit_in_bytes"), &bytes)?;
        // Without it a process may reserve more than it can use, and dies on the first touch. Linux 5.7.
        match control_file::write(dir, &format!("hugetlb.{size}.rsvd.limit_in_bytes"), &bytes) {
            Err(err) if err.is(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(())
}
