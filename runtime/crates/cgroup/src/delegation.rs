//! Giving a cgroup's inside to somebody: the directory and the files by which processes and controllers are handled
//! there, but none of its limits.

use std::{fs, io::ErrorKind, os::unix::fs::chown, path::Path};

use crate::{CgroupError, Result};

/// Names the files of this kernel. Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// The files of kernels that do not name them, from cgroups(7).
const DEFAULT: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

/// Makes `uid` the owner of what is inside of the v2 cgroup `dir`.
pub(crate) fn hand_over(dir: &Path, uid: u32) -> Result<()> {
    let change = |path: &Path| match chown(path, Some(uid), None) {
        // Not every file of the list is in every cgroup.
        Err(err) if err.kind() == ErrorKind::NotFound && path != dir => Ok(()),
        result => result.map_err(|source| CgroupError::Delegate {
            path: path.into(),
            source,
        }),
    };
    change(dir)?;
    let list = fs::read_to_string(LIST).unwrap_or_else(|_| DEFAULT.into());
    list.lines()
        .filter(|name| is_plain(name))
        .try_for_each(|name| change(&dir.join(name)))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && name != ".."
}
