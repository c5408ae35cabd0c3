//! cpuset: processors and memory nodes.
//!
//! A v1 cpuset starts empty, and an empty one cannot be entered. So what the parent has is copied down first.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::Need;
use crate::{Result, control_file};

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

pub(crate) fn needs(resources: &LinuxResources) -> Option<Need> {
    wanted(resources)
        .iter()
        .any(Option::is_some)
        .then_some(("cpuset", "cpu.cpus or cpu.mems"))
}

pub(crate) fn apply(dir: &Path, resources: &LinuxResources) -> Result<()> {
    for (name, value) in FILES.iter().zip(wanted(resources)) {
        if let Some(value) = value {
            control_file::write(dir, name, &value)?;
        }
    }
    Ok(())
}

/// The values of the two files, where they are given.
pub(crate) fn wanted(resources: &LinuxResources) -> [Option<String>; 2] {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    resources
        .cpu()
        .as_ref()
        .map(|cpu| [given(cpu.cpus()), given(cpu.mems())])
        .unwrap_or_default()
}

/// Fills the empty files of `dir` from its parent, and those of the parents from theirs.
pub(super) fn inherit(mount_point: &Path, dir: &Path) -> Result<()> {
    for name in FILES {
        // Where the hierarchy was mounted with noprefix the files have short names; nobody does that, nor do we.
        if control_file::read(dir, name)?.is_empty() {
            let value = inherited(mount_point, dir, name)?;
            control_file::write(dir, name, &value)?;
        }
    }
    Ok(())
}

/// What the nearest ancestor has, written to those in between.
fn inherited(mount_point: &Path, dir: &Path, name: &str) -> Result<String> {
    let mut empty: Vec<PathBuf> = Vec::new();
    let mut value = String::new();
    for ancestor in dir
        .ancestors()
        .skip(1)
        .take_while(|ancestor| ancestor.starts_with(mount_point))
    {
        value = control_file::read(ancestor, name)?;
        if !value.is_empty() {
            break;
        }
        empty.push(ancestor.into());
    }
    for ancestor in empty.iter().rev() {
        control_file::write(ancestor, name, &value)?;
    }
    Ok(value)
}
