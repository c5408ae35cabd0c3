//! devices: an eBPF program attached to the directory.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use davit_sys::bpf::{self, CGROUP_DEVICE};
use oci_spec::runtime::LinuxResources;

use crate::{
    CgroupError, Result,
    devices::{DeviceList, program},
    v2::open_directory,
};

/// Attaches the filter; programs that were attached before give way to it.
///
/// Every program must permit an access, so the new one comes first and the old ones go after it: no moment without
/// a filter, and a moment with both.
pub(super) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let list = DeviceList::for_container(resources.devices().as_deref().unwrap_or_default())?;
    let failed = |source| CgroupError::DeviceFilter {
        path: dir.into(),
        source,
    };
    let program = bpf::load_device_program(&program::emit(&list)).map_err(failed)?;
    let cgroup = open_directory(dir)?;
    let old = attached(&cgroup).map_err(failed)?;
    match old.as_slice() {
        [only] => match bpf::attach(cgroup.as_fd(), program.as_fd(), CGROUP_DEVICE, Some(only.as_fd())) {
            Err(err) if err.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                swap(&cgroup, &program, &old).map_err(failed)
            }
            result => result.map_err(failed),
        },
        _ => swap(&cgroup, &program, &old).map_err(failed),
    }
}

fn swap(cgroup: &OwnedFd, program: &OwnedFd, old: &[OwnedFd]) -> io::Result<()> {
    bpf::attach(cgroup.as_fd(), program.as_fd(), CGROUP_DEVICE, None)?;
    old.iter()
        .try_for_each(|old| bpf::detach(cgroup.as_fd(), old.as_fd(), CGROUP_DEVICE))
}

fn attached(cgroup: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut programs = Vec::new();
    for id in bpf::attached(cgroup.as_fd(), CGROUP_DEVICE)? {
        match bpf::program_by_id(id) {
            Ok(program) => programs.push(program),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(programs)
}
