//! What the files of limits hold before an update, so that one which is refused half-way can be taken back.
//!
//! It is the kernel that is asked: no record has what somebody else has set, or what a limit is that nobody has set.

use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use crate::{CgroupError, Result, control_file, stats::hugepage_sizes, systemd::Limits, v1::memory::OOM_CONTROL};

/// The files of a v1 controller that an update may write to; those of huge pages aside, which are named by size.
pub(crate) const V1: [(&str, &[&str]); 9] = [
    ("pids", &["pids.max"]),
    ("cpuset", &["cpuset.cpus", "cpuset.mems"]),
    (
        "memory",
        &[
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.swappiness",
            OOM_CONTROL,
        ],
    ),
    (
        "cpu",
        &[
            "cpu.shares",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
            "cpu.cfs_burst_us",
            "cpu.idle",
            "cpu.rt_period_us",
            "cpu.rt_runtime_us",
        ],
    ),
    (
        "blkio",
        &[
            "blkio.weight",
            "blkio.weight_device",
            "blkio.leaf_weight",
            "blkio.leaf_weight_device",
            "blkio.bfq.weight",
            "blkio.bfq.weight_device",
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
        ],
    ),
    ("hugetlb", &[]),
    ("net_cls", &["net_cls.classid"]),
    ("net_prio", &["net_prio.ifpriomap"]),
    ("rdma", &["rdma.max"]),
];

/// The same for v2.
const V2: [&str; 14] = [
    "pids.max",
    "memory.max",
    "memory.swap.max",
    "memory.low",
    "io.weight",
    "io.bfq.weight",
    "io.max",
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "rdma.max",
];

/// What the files held.
#[derive(Debug, Default)]
pub struct Backup {
    files: Vec<Saved>,
    /// What systemd knows.
    pub(crate) unit: Limits,
}

#[derive(Debug)]
struct Saved {
    dir: PathBuf,
    name: String,
    contents: String,
}

impl Backup {
    /// Adds a v1 controller's files. What cannot be read cannot be taken back.
    pub(crate) fn add_v1(&mut self, dir: &Path, controller: &str) {
        let names = V1.iter().find(|(name, _)| *name == controller);
        for name in names.map(|(_, names)| *names).unwrap_or_default() {
            self.add(dir, name);
        }
        if controller == "hugetlb" {
            self.add_hugepages(dir, "limit_in_bytes");
        }
    }

    /// Adds the files of a v2 cgroup, and those that `resources` name themselves.
    pub(crate) fn add_v2(&mut self, dir: &Path, resources: &LinuxResources) {
        let named = resources.unified().iter().flatten().map(|(name, _)| name.as_str());
        // The files of no controller are no limits: to kill or to move again what was killed or moved helps nobody.
        for name in V2.into_iter().chain(named.filter(|name| !name.starts_with("cgroup."))) {
            self.add(dir, name);
        }
        self.add_hugepages(dir, "max");
    }

    fn add_hugepages(&mut self, dir: &Path, file: &str) {
        for size in hugepage_sizes() {
            self.add(dir, &format!("hugetlb.{size}.{file}"));
            self.add(dir, &format!("hugetlb.{size}.rsvd.{file}"));
        }
    }

    fn add(&mut self, dir: &Path, name: &str) {
        if let Ok(contents) = contents(dir, name) {
            self.files.push(Saved {
                dir: dir.into(),
                name: name.into(),
                contents,
            });
        }
    }

    /// Writes what has changed since then.
    pub(crate) fn put_back(&self) -> Result<()> {
        let mut left: Vec<&Saved> = self.files.iter().collect();
        // A value may have to wait for another: memory for memory and swap, a burst for its quota.
        loop {
            let results = left.iter().map(|file| (*file, file.put_back()));
            let failed: Vec<(&Saved, CgroupError)> = results
                .filter_map(|(file, result)| Some((file, result.err()?)))
                .collect();
            if failed.len() == left.len() {
                return failed.into_iter().next().map_or(Ok(()), |(_, err)| Err(err));
            }
            left = failed.into_iter().map(|(file, _)| file).collect();
        }
    }
}

impl Saved {
    fn put_back(&self) -> Result<()> {
        let now = contents(&self.dir, &self.name)?;
        let write = |line: &str| control_file::write(&self.dir, &self.name, line);
        if now == self.contents {
            return Ok(());
        }
        if self.contents.is_empty() && neutral(&self.name).is_none() {
            return write("\n");
        }
        for line in now.lines().filter(|line| !has_key(&self.contents, key(line))) {
            if let Some(neutral) = neutral(&self.name) {
                write(&format!("{} {neutral}", key(line)))?;
            }
        }
        let is_there = |line: &&str| now.lines().any(|known| known == *line);
        self.contents.lines().filter(|line| !is_there(line)).try_for_each(write)
    }
}

/// What to write into the file to have it as it is.
fn contents(dir: &Path, name: &str) -> Result<String> {
    let text = control_file::read(dir, name)?;
    Ok(match name {
        OOM_CONTROL => control_file::value_of(&text, "oom_kill_disable")
            .unwrap_or_default()
            .to_string(),
        _ => text,
    })
}

fn key(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

fn has_key(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| key(line) == wanted)
}

/// What takes a device out of a file that has a line for each.
fn neutral(name: &str) -> Option<&'static str> {
    match name {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.weight" | "io.bfq.weight" => Some("default"),
        name if name.starts_with("blkio.") && name.ends_with("_device") => Some("0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
