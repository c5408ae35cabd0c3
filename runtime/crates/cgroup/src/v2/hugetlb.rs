//! hugetlb: huge pages, in use and reserved.

use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;

use crate::{Result, control_file};

pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    for limit in resources.hugepage_limits().iter().flatten() {
        let (size, bytes) = (limit.page_size(), limit.limit().to_string());
        control_file::write(dir, &format!("hugetlb.{size}.max"), &bytes)?;
        // Without it a process may reserve more than it can use, and dies on the first touch. Linux 5.7.
        match control_file::write(dir, &format!("hugetlb.{size}.rsvd.max"), &bytes) {
            Err(err) if err.is(Errno::NOENT) => {}
            result => result?,
        }
    }
    Ok(())
}
