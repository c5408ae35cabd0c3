//! Reads a container's cgroup: where it is, who is in it, what it has used, and whether it ran out of memory.
//!
//! The runtime makes and removes the cgroup; the shim only reads, on v1, v2 and both together.

mod files;
mod oom;
mod v1;
mod v2;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use davit_shim_api::pack;
use protobuf::well_known_types::any::Any;
use serde::{Deserialize, Serialize};

pub use self::oom::OomWatch;

const ROOT: &str = "/sys/fs/cgroup";

/// The mounted hierarchies: controllers of v1 by name, and the one of v2.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Controller to mount point; `name=systemd` is a controller too.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Hierarchies {
    /// Reads the mount table.
    pub fn read() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else {
                continue;
            };
            let Some(point) = mount.split(' ').nth(4).filter(|point| point.starts_with(ROOT)) else {
                continue;
            };
            let mut words = filesystem.split(' ');
            match (words.next(), words.nth(1)) {
                (Some("cgroup2"), _) => found.v2 = found.v2.or_else(|| Some(point.into())),
                (Some("cgroup"), Some(options)) => {
                    for option in options
                        .split(',')
                        .filter(|option| !matches!(*option, "rw" | "ro" | "xattr"))
                    {
                        found.v1.entry(option.to_owned()).or_insert_with(|| point.into());
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Each hierarchy's mount point, once.
    pub fn mount_points(&self) -> impl Iterator<Item = &Path> {
        let mut points: Vec<&Path> = self.v1.values().chain(&self.v2).map(PathBuf::as_path).collect();
        points.sort_unstable();
        points.dedup();
        points.into_iter()
    }
}

/// The cgroup of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Controller of v1 to folder.
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Cgroup {
    /// The cgroup of a process that was put into one of its own; `None` if it is in the root everywhere.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let membership = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(Self::parse(&membership, &Hierarchies::read()?))
    }

    fn parse(membership: &str, hierarchies: &Hierarchies) -> Option<Self> {
        let mut cgroup = Self {
            v1: BTreeMap::new(),
            v2: None,
        };
        for line in membership.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
                continue;
            };
            let relative = path.trim_start_matches('/');
            if relative.is_empty() || relative.starts_with("..") {
                continue;
            }
            if controllers.is_empty() {
                cgroup.v2 = hierarchies.v2.as_ref().map(|point| point.join(relative));
            }
            for controller in controllers.split(',').filter(|name| !name.is_empty()) {
                if let Some(point) = hierarchies.v1.get(controller) {
                    cgroup.v1.insert(controller.to_owned(), point.join(relative));
                }
            }
        }
        (!cgroup.v1.is_empty() || cgroup.v2.is_some()).then_some(cgroup)
    }

    /// Whether limits and accounts are those of v1; on a hybrid system v2 has none.
    fn is_v1(&self) -> bool {
        self.v1.keys().any(|controller| !controller.starts_with("name="))
    }

    fn controller(&self, name: &str) -> Option<&Path> {
        self.v1.get(name).map(PathBuf::as_path)
    }

    /// All processes in the cgroup and below it.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let first_choice = ["pids", "devices", "memory", "cpu"]
            .iter()
            .find_map(|name| self.controller(name));
        let folder = first_choice
            .or(self.v1.values().next().map(PathBuf::as_path))
            .or(self.v2.as_deref());
        let mut pids = Vec::new();
        if let Some(folder) = folder {
            collect_processes(folder, &mut pids)?;
        }
        pids.sort_unstable();
        Ok(pids)
    }

    /// What the container has used, as containerd's metrics.
    pub fn metrics(&self) -> Any {
        if self.is_v1() {
            pack(&v1::metrics(self))
        } else {
            pack(&v2::metrics(self.v2.as_deref()))
        }
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn oom_kills(&self) -> Option<u64> {
        if self.is_v1() {
            return files::keyed(&self.controller("memory")?.join("memory.oom_control"))
                .get("oom_kill")
                .copied();
        }
        files::keyed(&self.v2.as_deref()?.join("memory.events"))
            .get("oom_kill")
            .copied()
    }
}

fn collect_processes(folder: &Path, pids: &mut Vec<u32>) -> io::Result<()> {
    let text = fs::read_to_string(folder.join("cgroup.procs"))?;
    pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            // A child cgroup may go at any time.
            let _ = collect_processes(&entry.path(), pids);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
23 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
24 23 0:21 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
25 23 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
26 23 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
27 23 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
28 23 0:24 / /elsewhere rw - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_are_found_in_the_mount_table() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.v1["cpuacct"], found.v1["cpu"]);
        assert_eq!(found.v2, Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(found.mount_points().count(), 4);
    }

    #[test]
    fn a_cgroup_is_where_the_process_is_in_each_hierarchy() {
        let hierarchies = Hierarchies::parse(HYBRID);
        let cgroup = Cgroup::parse(
            "5:cpu,cpuacct:/a/b\n4:memory:/a/b\n3:name=systemd:/\n0::/\n",
            &hierarchies,
        )
        .unwrap();
        assert_eq!(
            cgroup.controller("memory"),
            Some(Path::new("/sys/fs/cgroup/memory/a/b"))
        );
        assert_eq!(cgroup.controller("name=systemd"), None);
        assert!(cgroup.is_v1() && cgroup.v2.is_none());
        let pure = Hierarchies {
            v2: Some("/sys/fs/cgroup".into()),
            ..Default::default()
        };
        let cgroup = Cgroup::parse("0::/a\n", &pure).unwrap();
        assert!(!cgroup.is_v1());
        assert_eq!(cgroup.v2, Some("/sys/fs/cgroup/a".into()));
        assert_eq!(Cgroup::parse("4:memory:/\n0::/../x\n", &hierarchies), None);
    }
}
