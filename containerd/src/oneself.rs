//! What the daemon does with its own process: its cgroup and its OOM score.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Sets this process's `oom_score_adj`. Without CAP_SYS_RESOURCE it cannot be lowered (proc_pid_oom_score_adj(5)).
pub fn set_oom_score(score: i32) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Moves this process into `cgroup` of every hierarchy with controllers, made where it is missing.
pub fn join_cgroup(cgroup: &str) -> io::Result<()> {
    let relative = Path::new(cgroup.trim_start_matches('/'));
    let stays = |part: Component<'_>| matches!(part, Component::Normal(_));
    if relative.as_os_str().is_empty() || !relative.components().all(stays) {
        let text = format!("cgroup {cgroup:?} is not a path below a hierarchy's root");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for root in hierarchies(&fs::read_to_string("/proc/self/mountinfo")?) {
        make_below(&root, relative)?;
        fs::write(root.join(relative).join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Makes the folder and those on the way. In a new cpuset no process may run until it has processors and memory (cpuset(7)).
fn make_below(root: &Path, relative: &Path) -> io::Result<()> {
    let mut folder = root.to_owned();
    for part in relative {
        let parent = folder.clone();
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // On v2 an empty one means those of the parent.
            let is_v1 = folder.join("tasks").exists() && folder.join(file).exists();
            if is_v1 && fs::read_to_string(folder.join(file))?.trim().is_empty() {
                fs::write(folder.join(file), fs::read(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// The mount points of the v1 hierarchies that have a controller; where there is none, that of v2.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let (mut v1, mut v2) = (Vec::new(), Vec::new());
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        match filesystem.split(' ').collect::<Vec<_>>()[..] {
            ["cgroup", _, options] if !options.contains("name=") => v1.push(point),
            ["cgroup2", ..] => v2.push(point),
            _ => {}
        }
    }
    if v1.is_empty() { v2 } else { v1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
                      31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    const V2: &str = "32 25 0:28 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn v2_counts_where_no_controller_is_on_v1() {
        assert_eq!(hierarchies(&format!("{V2}{V1}")), [Path::new("/sys/fs/cgroup/memory")]);
        assert_eq!(hierarchies(V2), [Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn a_cgroup_outside_of_the_hierarchies_is_refused() {
        for bad in ["", "/", "../x", "a/../../x"] {
            assert_eq!(
                join_cgroup(bad).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{bad}"
            );
        }
    }
}
