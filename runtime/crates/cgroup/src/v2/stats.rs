//! Reading usage from v2 files; a controller that is not enabled leaves zeros.

use std::path::Path;

use crate::{
    Blkio, BlkioEntry, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Result, Stats, Throttling,
    control_file::{key_values, read_if_exists, read_number_if_exists, value_of},
    pressure,
    stats::{hugepage_sizes, list_of_numbers},
};

pub(super) fn read(dir: &Path) -> Result<Stats> {
    let mut stats = Stats::default();
    let cpu = read_if_exists(dir, "cpu.stat")?.unwrap_or_default();
    let nanoseconds = |key| value_of(&cpu, key).unwrap_or_default() * 1000;
    stats.cpu.usage = CpuUsage {
        total: nanoseconds("usage_usec"),
        kernel: nanoseconds("system_usec"),
        user: nanoseconds("user_usec"),
        ..CpuUsage::default()
    };
    stats.cpu.throttling = Throttling {
        periods: value_of(&cpu, "nr_periods").unwrap_or_default(),
        throttled_periods: value_of(&cpu, "nr_throttled").unwrap_or_default(),
        throttled_time: nanoseconds("throttled_usec"),
    };
    stats.cpu.psi = pressure::read(dir, "cpu.pressure")?;
    stats.cpuset = cpuset(dir)?;
    stats.memory = memory(dir)?;
    stats.pids = pids(dir)?;
    stats.blkio = io(dir)?;
    for size in hugepage_sizes() {
        if let Some(pages) = hugetlb(dir, &size)? {
            stats.hugetlb.insert(size, pages);
        }
    }
    Ok(stats)
}

/// What is reserved, of which what is used is a part. Kernels before 5.7 count only that.
fn hugetlb(dir: &Path, size: &str) -> Result<Option<Hugetlb>> {
    let value = |file: &str| read_number_if_exists(dir, &format!("hugetlb.{size}.{file}"));
    let usage = match value("rsvd.current")? {
        None => value("current")?,
        reserved => reserved,
    };
    let events = read_if_exists(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
    let failcnt = value_of(&events, "max").unwrap_or_default();
    Ok(usage.map(|usage| Hugetlb { usage, max: 0, failcnt }))
}

fn cpuset(dir: &Path) -> Result<Cpuset> {
    let list = |file: &str| read_if_exists(dir, file).map(|text| list_of_numbers(&text.unwrap_or_default()));
    Ok(Cpuset {
        cpus: list("cpuset.cpus.effective")?,
        mems: list("cpuset.mems.effective")?,
        ..Cpuset::default()
    })
}

fn memory(dir: &Path) -> Result<Memory> {
    let Some(stat) = read_if_exists(dir, "memory.stat")? else {
        return Ok(Memory::default());
    };
    let events = read_if_exists(dir, "memory.events")?.unwrap_or_default();
    let value = |file: &str| read_number_if_exists(dir, file).map(Option::unwrap_or_default);
    let usage = MemoryEntry {
        limit: value("memory.max")?,
        usage: value("memory.current")?,
        max: value("memory.peak")?,
        failcnt: value_of(&events, "max").unwrap_or_default(),
    };
    // v2 counts swap by itself; readers know the sum of both.
    let swap = MemoryEntry {
        limit: value("memory.swap.max")?.saturating_add(usage.limit),
        usage: value("memory.swap.current")?.saturating_add(usage.usage),
        // The highest sum is not the sum of both highest.
        max: 0,
        failcnt: 0,
    };
    Ok(Memory {
        cache: value_of(&stat, "file").unwrap_or_default(),
        usage,
        swap,
        psi: pressure::read(dir, "memory.pressure")?,
        raw: key_values(&stat).map(|(key, value)| (key.to_owned(), value)).collect(),
        ..Memory::default()
    })
}

fn pids(dir: &Path) -> Result<Pids> {
    let Some(current) = read_number_if_exists(dir, "pids.current")? else {
        // The controller is not enabled: count them, in a threaded cgroup by thread.
        let list = match read_if_exists(dir, "cgroup.procs")? {
            None => read_if_exists(dir, "cgroup.threads")?,
            list => list,
        };
        return Ok(Pids {
            current: list.unwrap_or_default().lines().count() as u64,
            limit: 0,
        });
    };
    let limit = read_number_if_exists(dir, "pids.max")?.unwrap_or(u64::MAX);
    Ok(Pids {
        current,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

fn io(dir: &Path) -> Result<Blkio> {
    let mut blkio = Blkio {
        psi: pressure::read(dir, "io.pressure")?,
        ..Blkio::default()
    };
    for line in read_if_exists(dir, "io.stat")?.unwrap_or_default().lines() {
        for (counter, entry) in io_entries(line) {
            match counter {
                Counter::Bytes => blkio.io_service_bytes_recursive.push(entry),
                Counter::Operations => blkio.io_serviced_recursive.push(entry),
            }
        }
    }
    Ok(blkio)
}

enum Counter {
    Bytes,
    Operations,
}

/// `8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0`
fn io_entries(line: &str) -> Vec<(Counter, BlkioEntry)> {
    let mut fields = line.split_ascii_whitespace();
    let device = fields.next().and_then(|device| device.split_once(':'));
    let numbers = device.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let Some((major, minor)) = numbers else {
        return Vec::new();
    };
    let entry = |field: &str| {
        let (key, value) = field.split_once('=')?;
        let (counter, op) = match key {
            "rbytes" => (Counter::Bytes, "Read"),
            "wbytes" => (Counter::Bytes, "Write"),
            "rios" => (Counter::Operations, "Read"),
            "wios" => (Counter::Operations, "Write"),
            _ => return None,
        };
        Some((
            counter,
            BlkioEntry {
                major,
                minor,
                op: op.into(),
                value: value.parse().ok()?,
            },
        ))
    };
    fields.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_io_stat_has_four_counters() {
        let entries = io_entries("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6");
        let values: Vec<_> = entries
            .iter()
            .map(|(_, entry)| (entry.op.as_str(), entry.value))
            .collect();
        assert_eq!(values, [("Read", 1), ("Write", 2), ("Read", 3), ("Write", 4)]);
        assert!(io_entries("(unknown)").is_empty());
    }

    #[test]
    fn transfers_are_counted_by_device_and_direction() {
        let dir = tempfile::tempdir().unwrap();
        let text = "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:0 rbytes=7 wbytes=8 rios=9 wios=10\n";
        std::fs::write(dir.path().join("io.stat"), text).unwrap();
        let blkio = io(dir.path()).unwrap();
        let values = |entries: &[BlkioEntry]| entries.iter().map(|entry| entry.value).collect::<Vec<_>>();
        assert_eq!(values(&blkio.io_service_bytes_recursive), [1, 2, 7, 8]);
        assert_eq!(values(&blkio.io_serviced_recursive), [3, 4, 9, 10]);
    }

    #[test]
    fn reserved_huge_pages_are_counted_where_the_kernel_does() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join(format!("hugetlb.2MB.{file}")), text);
        let counted = || {
            hugetlb(dir.path(), "2MB")
                .unwrap()
                .map(|pages| (pages.usage, pages.failcnt))
        };
        assert_eq!(counted(), None);
        write("current", "2\n").unwrap();
        write("events", "max 7\n").unwrap();
        assert_eq!(counted(), Some((2, 7)));
        write("rsvd.current", "6\n").unwrap();
        assert_eq!(counted(), Some((6, 7)));
    }
}
