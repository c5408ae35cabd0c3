//! Metrics of cgroup v2.

use std::{collections::HashMap, fs, path::Path};

use davit_shim_api::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PidsStat,
};

use super::files::{device, keyed, number, page_sizes, parse_number};

/// Everything that the controllers tell.
pub fn metrics(folder: Option<&Path>) -> Metrics {
    let Some(folder) = folder else { return Metrics::new() };
    Metrics {
        pids: Some(pids(folder)).into(),
        cpu: Some(cpu(folder)).into(),
        memory: Some(memory(folder)).into(),
        memory_events: Some(memory_events(folder)).into(),
        io: Some(IOStat {
            usage: io(folder),
            ..Default::default()
        })
        .into(),
        hugetlb: hugetlb(folder),
        ..Default::default()
    }
}

/// Absent keys are 0.
fn pick(values: &HashMap<String, u64>, key: &str) -> u64 {
    values.get(key).copied().unwrap_or(0)
}

fn pids(folder: &Path) -> PidsStat {
    let read = |name| number(&folder.join(name)).unwrap_or(0);
    let limit = read("pids.max");
    // No limit is 0 in containerd's metrics.
    PidsStat {
        current: read("pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
        ..Default::default()
    }
}

fn cpu(folder: &Path) -> CPUStat {
    let stat = keyed(&folder.join("cpu.stat"));
    CPUStat {
        usage_usec: pick(&stat, "usage_usec"),
        user_usec: pick(&stat, "user_usec"),
        system_usec: pick(&stat, "system_usec"),
        nr_periods: pick(&stat, "nr_periods"),
        nr_throttled: pick(&stat, "nr_throttled"),
        throttled_usec: pick(&stat, "throttled_usec"),
        nr_bursts: pick(&stat, "nr_bursts"),
        burst_usec: pick(&stat, "burst_usec"),
        ..Default::default()
    }
}

fn memory(folder: &Path) -> MemoryStat {
    let stat = keyed(&folder.join("memory.stat"));
    let get = |key| pick(&stat, key);
    let read = |name| number(&folder.join(name)).unwrap_or(0);
    MemoryStat {
        anon: get("anon"),
        file: get("file"),
        kernel_stack: get("kernel_stack"),
        slab: get("slab"),
        sock: get("sock"),
        shmem: get("shmem"),
        file_mapped: get("file_mapped"),
        file_dirty: get("file_dirty"),
        file_writeback: get("file_writeback"),
        anon_thp: get("anon_thp"),
        inactive_anon: get("inactive_anon"),
        active_anon: get("active_anon"),
        inactive_file: get("inactive_file"),
        active_file: get("active_file"),
        unevictable: get("unevictable"),
        slab_reclaimable: get("slab_reclaimable"),
        slab_unreclaimable: get("slab_unreclaimable"),
        pgfault: get("pgfault"),
        pgmajfault: get("pgmajfault"),
        workingset_nodereclaim: get("workingset_nodereclaim"),
        workingset_refault_anon: get("workingset_refault_anon"),
        workingset_refault_file: get("workingset_refault_file"),
        workingset_activate_anon: get("workingset_activate_anon"),
        workingset_activate_file: get("workingset_activate_file"),
        pgrefill: get("pgrefill"),
        pgscan: get("pgscan"),
        pgsteal: get("pgsteal"),
        pgactivate: get("pgactivate"),
        pgdeactivate: get("pgdeactivate"),
        pglazyfree: get("pglazyfree"),
        pglazyfreed: get("pglazyfreed"),
        thp_fault_alloc: get("thp_fault_alloc"),
        thp_collapse_alloc: get("thp_collapse_alloc"),
        usage: read("memory.current"),
        usage_limit: read("memory.max"),
        max_usage: read("memory.peak"),
        swap_usage: read("memory.swap.current"),
        swap_limit: read("memory.swap.max"),
        swap_max_usage: read("memory.swap.peak"),
        ..Default::default()
    }
}

fn memory_events(folder: &Path) -> MemoryEvents {
    let events = keyed(&folder.join("memory.events"));
    MemoryEvents {
        low: pick(&events, "low"),
        high: pick(&events, "high"),
        max: pick(&events, "max"),
        oom: pick(&events, "oom"),
        oom_kill: pick(&events, "oom_kill"),
        oom_group_kill: pick(&events, "oom_group_kill"),
        ..Default::default()
    }
}

fn io(folder: &Path) -> Vec<IOEntry> {
    let text = fs::read_to_string(folder.join("io.stat")).unwrap_or_default();
    text.lines().filter_map(io_entry).collect()
}

/// `8:0 rbytes=1 wbytes=2 …`
fn io_entry(line: &str) -> Option<IOEntry> {
    let (name, values) = line.split_once(' ')?;
    let (major, minor) = device(name)?;
    let values: HashMap<String, u64> = values
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(key, value)| Some((key.to_owned(), parse_number(value)?)))
        .collect();
    Some(IOEntry {
        major,
        minor,
        rbytes: pick(&values, "rbytes"),
        wbytes: pick(&values, "wbytes"),
        rios: pick(&values, "rios"),
        wios: pick(&values, "wios"),
        ..Default::default()
    })
}

fn hugetlb(folder: &Path) -> Vec<HugeTlbStat> {
    let of = |size: String| {
        let file = |name: &str| folder.join(format!("hugetlb.{size}.{name}"));
        HugeTlbStat {
            current: number(&file("current")).unwrap_or(0),
            max: number(&file("max")).unwrap_or(0),
            failcnt: pick(&keyed(&file("events")), "max"),
            pagesize: size,
            ..Default::default()
        }
    };
    page_sizes(folder, "current").into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_cgroup_become_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("pids.current", "3\n");
        put("pids.max", "max\n");
        put("cpu.stat", "usage_usec 10\nuser_usec 7\n");
        put("memory.current", "4096\n");
        put("memory.max", "max\n");
        put("memory.events", "oom 2\noom_kill 1\n");
        put("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\nodd\n");
        let metrics = metrics(Some(dir.path()));
        assert_eq!((metrics.pids.current, metrics.pids.limit), (3, 0));
        assert_eq!((metrics.cpu.usage_usec, metrics.cpu.user_usec), (10, 7));
        assert_eq!((metrics.memory.usage, metrics.memory.usage_limit), (4096, u64::MAX));
        assert_eq!(metrics.memory_events.oom_kill, 1);
        assert_eq!(metrics.io.usage.len(), 1);
        assert_eq!((metrics.io.usage[0].major, metrics.io.usage[0].wios), (8, 4));
    }
}
