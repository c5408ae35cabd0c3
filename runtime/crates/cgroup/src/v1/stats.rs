//! Reading usage from v1 files; a controller that is not mounted leaves zeros.

use std::path::Path;

use super::Hierarchies;
use crate::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Result, Stats, Throttling,
    control_file::{self, key_values, read_if_exists, read_number_if_exists, value_of},
    stats::{hugepage_sizes, list_of_numbers},
};

/// USER_HZ, the unit of cpuacct.stat on every architecture.
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

pub(super) fn read(hierarchies: &Hierarchies) -> Result<Stats> {
    let mut stats = Stats::default();
    if let Some(dir) = hierarchies.find("cpuacct") {
        stats.cpu.usage = cpu_usage(dir)?;
    }
    if let Some(dir) = hierarchies.find("cpu") {
        throttling(dir, &mut stats.cpu)?;
    }
    if let Some(dir) = hierarchies.find("cpuset") {
        stats.cpuset = cpuset(dir)?;
    }
    if let Some(dir) = hierarchies.find("memory") {
        stats.memory = memory(dir)?;
    }
    if let Some(dir) = hierarchies.find("pids") {
        stats.pids = pids(dir)?;
    }
    if let Some(dir) = hierarchies.find("blkio") {
        stats.blkio = blkio(dir)?;
    }
    if let Some(dir) = hierarchies.find("hugetlb") {
        for size in hugepage_sizes() {
            if let Some(pages) = hugetlb(dir, &size)? {
                stats.hugetlb.insert(size, pages);
            }
        }
    }
    Ok(stats)
}

/// What is reserved, of which what is used is a part. Kernels before 5.7 count only that.
fn hugetlb(dir: &Path, size: &str) -> Result<Option<Hugetlb>> {
    for kind in [".rsvd", ""] {
        let value = |file: &str| read_number_if_exists(dir, &format!("hugetlb.{size}{kind}.{file}"));
        if let (Some(usage), Some(max), Some(failcnt)) = (
            value("usage_in_bytes")?,
            value("max_usage_in_bytes")?,
            value("failcnt")?,
        ) {
            return Ok(Some(Hugetlb { usage, max, failcnt }));
        }
    }
    Ok(None)
}

fn cpu_usage(dir: &Path) -> Result<CpuUsage> {
    let stat = control_file::read(dir, "cpuacct.stat")?;
    let ticks = |key| value_of(&stat, key).unwrap_or_default() * NANOSECONDS_PER_TICK;
    let mut usage = CpuUsage {
        total: control_file::read_number(dir, "cpuacct.usage")?,
        kernel: ticks("system"),
        user: ticks("user"),
        ..CpuUsage::default()
    };
    if let Some(text) = read_if_exists(dir, "cpuacct.usage_percpu")? {
        usage.percpu = numbers(&text);
    }
    // "cpu user system", then a line per processor.
    for line in read_if_exists(dir, "cpuacct.usage_all")?
        .unwrap_or_default()
        .lines()
        .skip(1)
    {
        if let [_, user, kernel] = numbers(line)[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(usage)
}

fn throttling(dir: &Path, cpu: &mut Cpu) -> Result<()> {
    let stat = read_if_exists(dir, "cpu.stat")?.unwrap_or_default();
    let value = |key| value_of(&stat, key).unwrap_or_default();
    cpu.throttling = Throttling {
        periods: value("nr_periods"),
        throttled_periods: value("nr_throttled"),
        throttled_time: value("throttled_time"),
    };
    Ok(())
}

fn cpuset(dir: &Path) -> Result<Cpuset> {
    let list = |file: &str| read_if_exists(dir, file).map(|text| list_of_numbers(&text.unwrap_or_default()));
    let flag = |file: &str| read_number_if_exists(dir, file).map(Option::unwrap_or_default);
    Ok(Cpuset {
        cpus: list("cpuset.cpus")?,
        cpu_exclusive: flag("cpuset.cpu_exclusive")?,
        mems: list("cpuset.mems")?,
        mem_hardwall: flag("cpuset.mem_hardwall")?,
        mem_exclusive: flag("cpuset.mem_exclusive")?,
        memory_migrate: flag("cpuset.memory_migrate")?,
        memory_spread_page: flag("cpuset.memory_spread_page")?,
        memory_spread_slab: flag("cpuset.memory_spread_slab")?,
        memory_pressure: flag("cpuset.memory_pressure")?,
        sched_load_balance: flag("cpuset.sched_load_balance")?,
        sched_relax_domain_level: read_if_exists(dir, "cpuset.sched_relax_domain_level")?
            .and_then(|text| text.parse().ok())
            .unwrap_or_default(),
    })
}

fn memory(dir: &Path) -> Result<Memory> {
    let stat = control_file::read(dir, "memory.stat")?;
    Ok(Memory {
        cache: value_of(&stat, "cache").unwrap_or_default(),
        usage: memory_entry(dir, "memory")?,
        swap: memory_entry(dir, "memory.memsw")?,
        kernel: memory_entry(dir, "memory.kmem")?,
        kernel_tcp: memory_entry(dir, "memory.kmem.tcp")?,
        raw: key_values(&stat).map(|(key, value)| (key.to_owned(), value)).collect(),
        psi: None,
    })
}

/// Zeros where the kernel does not count this kind.
fn memory_entry(dir: &Path, kind: &str) -> Result<MemoryEntry> {
    let value = |file: &str| read_number_if_exists(dir, &format!("{kind}.{file}")).map(Option::unwrap_or_default);
    Ok(MemoryEntry {
        limit: value("limit_in_bytes")?,
        usage: value("usage_in_bytes")?,
        max: value("max_usage_in_bytes")?,
        failcnt: value("failcnt")?,
    })
}

fn pids(dir: &Path) -> Result<Pids> {
    let limit = control_file::read_number(dir, "pids.max")?;
    let current = control_file::read_number(dir, "pids.current")?;
    Ok(Pids {
        current,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

fn blkio(dir: &Path) -> Result<Blkio> {
    // Which files count depends on the scheduler; the throttle's own are there under all of them.
    let prefix = ["blkio.bfq", "blkio"]
        .into_iter()
        .find(|prefix| blkio_file(dir, prefix, "io_serviced_recursive").is_ok_and(|entries| !entries.is_empty()))
        .unwrap_or("blkio.throttle");
    let entries = |file| blkio_file(dir, prefix, file);
    Ok(Blkio {
        io_service_bytes_recursive: entries("io_service_bytes_recursive")?,
        io_serviced_recursive: entries("io_serviced_recursive")?,
        io_queued_recursive: entries("io_queued_recursive")?,
        io_service_time_recursive: entries("io_service_time_recursive")?,
        io_wait_time_recursive: entries("io_wait_time_recursive")?,
        io_merged_recursive: entries("io_merged_recursive")?,
        io_time_recursive: entries("time_recursive")?,
        sectors_recursive: entries("sectors_recursive")?,
        psi: None,
    })
}

/// Lines of `8:0 Read 4096`, or `8:0 4096`; the `Total 4096` at the end is left out.
fn blkio_file(dir: &Path, prefix: &str, file: &str) -> Result<Vec<BlkioEntry>> {
    let text = read_if_exists(dir, &format!("{prefix}.{file}"))?.unwrap_or_default();
    Ok(text.lines().filter_map(blkio_entry).collect())
}

fn blkio_entry(line: &str) -> Option<BlkioEntry> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (device, op, value) = match fields[..] {
        [device, op, value] => (device, op, value),
        [device, value] => (device, "", value),
        _ => return None,
    };
    let (major, minor) = device.split_once(':')?;
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: op.into(),
        value: value.parse().ok()?,
    })
}

fn numbers(text: &str) -> Vec<u64> {
    text.split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_lines_are_read_with_and_without_an_operation() {
        let entry = |op: &str| {
            Some(BlkioEntry {
                major: 8,
                minor: 16,
                op: op.into(),
                value: 4096,
            })
        };
        assert_eq!(blkio_entry("8:16 Read 4096"), entry("Read"));
        assert_eq!(blkio_entry("8:16 4096"), entry(""));
        assert_eq!(blkio_entry("Total 4096"), None);
    }

    #[test]
    fn reserved_huge_pages_are_counted_where_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let write = |kind: &str, numbers: [u64; 3]| {
            for (file, number) in ["usage_in_bytes", "max_usage_in_bytes", "failcnt"].iter().zip(numbers) {
                std::fs::write(
                    dir.path().join(format!("hugetlb.2MB{kind}.{file}")),
                    format!("{number}\n"),
                )
                .unwrap();
            }
        };
        let counted = || {
            let pages = hugetlb(dir.path(), "2MB").unwrap()?;
            Some([pages.usage, pages.max, pages.failcnt])
        };
        assert_eq!(counted(), None);
        write("", [2, 4, 1]);
        assert_eq!(counted(), Some([2, 4, 1]));
        write(".rsvd", [6, 8, 3]);
        assert_eq!(counted(), Some([6, 8, 3]));
    }
}
