//! Metrics of cgroup v1. Each controller has a folder of its own and may be absent.

use std::{collections::HashMap, fs, path::Path};

use davit_shim_api::cgroups_v1::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl, MemoryStat, Metrics,
    PidsStat, Throttle,
};

use super::{
    Cgroup,
    files::{device, keyed, number, numbers, page_sizes},
};

/// Units of cpuacct.stat: USER_HZ, which is 100 on every architecture of Linux that matters here.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Everything that the controllers tell.
pub fn metrics(cgroup: &Cgroup) -> Metrics {
    let memory_folder = cgroup.controller("memory");
    Metrics {
        hugetlb: cgroup.controller("hugetlb").map(hugetlb).unwrap_or_default(),
        pids: cgroup.controller("pids").map(pids).into(),
        cpu: cpu(cgroup).into(),
        memory: memory_folder.map(memory).into(),
        memory_oom_control: memory_folder.map(oom_control).into(),
        blkio: cgroup.controller("blkio").map(blkio).into(),
        ..Default::default()
    }
}

fn pick(values: &HashMap<String, u64>, key: &str) -> u64 {
    values.get(key).copied().unwrap_or(0)
}

fn pids(folder: &Path) -> PidsStat {
    let read = |name| number(&folder.join(name)).unwrap_or(0);
    let limit = read("pids.max");
    PidsStat {
        current: read("pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
        ..Default::default()
    }
}

fn cpu(cgroup: &Cgroup) -> Option<CPUStat> {
    let usage = cgroup.controller("cpuacct").map(|folder| {
        let ticks = keyed(&folder.join("cpuacct.stat"));
        CPUUsage {
            total: number(&folder.join("cpuacct.usage")).unwrap_or(0),
            kernel: pick(&ticks, "system") * NANOS_PER_TICK,
            user: pick(&ticks, "user") * NANOS_PER_TICK,
            per_cpu: numbers(&folder.join("cpuacct.usage_percpu")),
            ..Default::default()
        }
    });
    let throttling = cgroup.controller("cpu").map(|folder| {
        let stat = keyed(&folder.join("cpu.stat"));
        Throttle {
            periods: pick(&stat, "nr_periods"),
            throttled_periods: pick(&stat, "nr_throttled"),
            throttled_time: pick(&stat, "throttled_time"),
            ..Default::default()
        }
    });
    let some = usage.is_some() || throttling.is_some();
    some.then(|| CPUStat {
        usage: usage.into(),
        throttling: throttling.into(),
        ..Default::default()
    })
}

fn memory(folder: &Path) -> MemoryStat {
    let stat = keyed(&folder.join("memory.stat"));
    let get = |key| pick(&stat, key);
    let entry = |name| Some(memory_entry(folder, name)).into();
    MemoryStat {
        cache: get("cache"),
        rss: get("rss"),
        rss_huge: get("rss_huge"),
        mapped_file: get("mapped_file"),
        dirty: get("dirty"),
        writeback: get("writeback"),
        pg_pg_in: get("pgpgin"),
        pg_pg_out: get("pgpgout"),
        pg_fault: get("pgfault"),
        pg_maj_fault: get("pgmajfault"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        hierarchical_memory_limit: get("hierarchical_memory_limit"),
        hierarchical_swap_limit: get("hierarchical_memsw_limit"),
        total_cache: get("total_cache"),
        total_rss: get("total_rss"),
        total_rss_huge: get("total_rss_huge"),
        total_mapped_file: get("total_mapped_file"),
        total_dirty: get("total_dirty"),
        total_writeback: get("total_writeback"),
        total_pg_pg_in: get("total_pgpgin"),
        total_pg_pg_out: get("total_pgpgout"),
        total_pg_fault: get("total_pgfault"),
        total_pg_maj_fault: get("total_pgmajfault"),
        total_inactive_anon: get("total_inactive_anon"),
        total_active_anon: get("total_active_anon"),
        total_inactive_file: get("total_inactive_file"),
        total_active_file: get("total_active_file"),
        total_unevictable: get("total_unevictable"),
        usage: entry("memory"),
        swap: entry("memory.memsw"),
        kernel: entry("memory.kmem"),
        kernel_tcp: entry("memory.kmem.tcp"),
        ..Default::default()
    }
}

fn memory_entry(folder: &Path, prefix: &str) -> MemoryEntry {
    let read = |suffix: &str| number(&folder.join(format!("{prefix}.{suffix}"))).unwrap_or(0);
    MemoryEntry {
        limit: read("limit_in_bytes"),
        usage: read("usage_in_bytes"),
        max: read("max_usage_in_bytes"),
        failcnt: read("failcnt"),
        ..Default::default()
    }
}

fn oom_control(folder: &Path) -> MemoryOomControl {
    let values = keyed(&folder.join("memory.oom_control"));
    MemoryOomControl {
        oom_kill_disable: pick(&values, "oom_kill_disable"),
        under_oom: pick(&values, "under_oom"),
        oom_kill: pick(&values, "oom_kill"),
        ..Default::default()
    }
}

fn blkio(folder: &Path) -> BlkIOStat {
    let read = |name: &str| blkio_entries(&fs::read_to_string(folder.join(name)).unwrap_or_default());
    // Without the BFQ scheduler only the throttle files have numbers.
    let either = |bfq: &str, throttle: &str| {
        let entries = read(bfq);
        if entries.is_empty() { read(throttle) } else { entries }
    };
    BlkIOStat {
        io_service_bytes_recursive: either(
            "blkio.bfq.io_service_bytes_recursive",
            "blkio.throttle.io_service_bytes_recursive",
        ),
        io_serviced_recursive: either(
            "blkio.bfq.io_serviced_recursive",
            "blkio.throttle.io_serviced_recursive",
        ),
        ..Default::default()
    }
}

/// Lines `8:0 Read 4096`; the line `Total` has no device.
fn blkio_entries(text: &str) -> Vec<BlkIOEntry> {
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        let op = words.next()?.to_owned();
        let value = words.next()?.parse().ok()?;
        let device = device_name(major, minor);
        Some(BlkIOEntry {
            op,
            device,
            major,
            minor,
            value,
            ..Default::default()
        })
    };
    text.lines().filter_map(parse).collect()
}

fn device_name(major: u64, minor: u64) -> String {
    let uevent = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).unwrap_or_default();
    let name = uevent.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map(|name| format!("/dev/{name}")).unwrap_or_default()
}

fn hugetlb(folder: &Path) -> Vec<HugetlbStat> {
    let of = |size: String| {
        let read = |name: &str| number(&folder.join(format!("hugetlb.{size}.{name}"))).unwrap_or(0);
        HugetlbStat {
            usage: read("usage_in_bytes"),
            max: read("max_usage_in_bytes"),
            failcnt: read("failcnt"),
            pagesize: size,
            ..Default::default()
        }
    };
    page_sizes(folder, "usage_in_bytes").into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_controllers_become_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("memory.usage_in_bytes", "8192\n");
        put("memory.stat", "cache 1\ntotal_rss 2\n");
        put("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n");
        put("pids.current", "2\n");
        put("cpuacct.usage", "30\n");
        put("cpuacct.usage_percpu", "10 20 \n");
        put("cpuacct.stat", "user 1\nsystem 2\n");
        put("hugetlb.2MB.usage_in_bytes", "5\n");
        let controllers = ["memory", "pids", "cpuacct", "hugetlb"];
        let v1 = controllers.map(|name| (name.to_owned(), dir.path().to_owned())).into();
        let metrics = metrics(&Cgroup { v1, v2: None });
        assert_eq!((metrics.memory.usage.usage, metrics.memory.total_rss), (8192, 2));
        assert_eq!(metrics.memory_oom_control.oom_kill, 4);
        assert_eq!(metrics.cpu.usage.per_cpu, [10, 20]);
        assert_eq!(metrics.cpu.usage.kernel, 20_000_000);
        assert_eq!(metrics.hugetlb[0].pagesize, "2MB");
        assert!(metrics.blkio.is_none());
    }

    #[test]
    fn lines_without_a_device_are_no_entries() {
        let entries = blkio_entries("254:0 Read 4096\n254:0 Total 4096\nTotal 4096\n");
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| (entry.major, entry.op.as_str(), entry.value))
            .collect();
        assert_eq!(seen, [(254, "Read", 4096), (254, "Total", 4096)]);
    }
}
