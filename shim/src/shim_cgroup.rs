//! Puts the shim itself into the cgroup that the runtime's options name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::cgroup::Hierarchies;

/// Moves a process into `cgroup` of every hierarchy, making it where it does not exist.
pub fn join(cgroup: &str, pid: u32) -> io::Result<()> {
    let relative = Path::new(cgroup.trim_start_matches('/'));
    if relative
        .components()
        .any(|part| !matches!(part, std::path::Component::Normal(_)))
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path leaves the hierarchy",
        ));
    }
    for mount in Hierarchies::read()?.mount_points() {
        let folder: PathBuf = mount.join(relative);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(())
}
