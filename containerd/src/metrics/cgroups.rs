//! What a task's cgroup says, under containerd's names for it: other ones for v1 than for v2.

use davit_containerd_api::cgroups::{v1, v2};
use prost::{Message, Name};

use super::exposition::{Exposition, Kind};

/// A number of a cgroup: its name, what it is, and where it stands.
type Row<M> = (&'static str, &'static str, fn(&M) -> Option<u64>);

/// What one task uses.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) container: String,
    pub(super) namespace: String,
    pub(super) runtime: String,
    pub(super) numbers: Numbers,
}

/// The numbers of a cgroup.
#[derive(Debug)]
pub(super) enum Numbers {
    V1(Box<v1::Metrics>),
    V2(Box<v2::Metrics>),
}

impl Numbers {
    /// Reads what a shim said; nothing where that is of another type.
    pub(super) fn read(type_url: &str, bytes: &[u8]) -> Option<Self> {
        let name = type_url.rsplit('/').next()?;
        if name == v1::Metrics::full_name() {
            return v1::Metrics::decode(bytes).ok().map(|metrics| Self::V1(metrics.into()));
        }
        if name == v2::Metrics::full_name() {
            return v2::Metrics::decode(bytes).ok().map(|metrics| Self::V2(metrics.into()));
        }
        None
    }
}

pub(super) fn write(usages: &[Usage], text: &mut Exposition) {
    let v1 = |usage: &Usage, row: &Row<v1::Metrics>| match &usage.numbers {
        Numbers::V1(metrics) => (row.2)(metrics),
        Numbers::V2(_) => None,
    };
    let v2 = |usage: &Usage, row: &Row<v2::Metrics>| match &usage.numbers {
        Numbers::V2(metrics) => (row.2)(metrics),
        Numbers::V1(_) => None,
    };
    V1.iter().for_each(|row| write_family(usages, row, v1, text));
    write_per_cpu(usages, text);
    V2.iter().for_each(|row| write_family(usages, row, v2, text));
}

fn write_family<M>(
    usages: &[Usage],
    row: &Row<M>,
    value: impl Fn(&Usage, &Row<M>) -> Option<u64>,
    text: &mut Exposition,
) {
    let (name, help, _) = row;
    let mut samples = usages
        .iter()
        .filter_map(|usage| Some((usage, value(usage, row)?)))
        .peekable();
    if samples.peek().is_some() {
        text.family(name, Kind::Gauge, help);
    }
    for (usage, value) in samples {
        text.sample(name, &labels(usage), value as f64);
    }
}

fn write_per_cpu(usages: &[Usage], text: &mut Exposition) {
    const NAME: &str = "container_per_cpu_nanoseconds";
    let per_cpu = |usage: &Usage| match &usage.numbers {
        Numbers::V1(metrics) => metrics.cpu.as_ref()?.usage.as_ref().map(|usage| usage.per_cpu.clone()),
        Numbers::V2(_) => None,
    };
    let mut all = usages
        .iter()
        .filter_map(|usage| Some((usage, per_cpu(usage)?)))
        .peekable();
    if all.peek().is_some() {
        text.family(NAME, Kind::Gauge, "The total cpu time per cpu");
    }
    for (usage, per_cpu) in all {
        for (cpu, value) in per_cpu.into_iter().enumerate() {
            let cpu = cpu.to_string();
            let [container, rest @ ..] = labels(usage);
            text.sample(NAME, &[&[container, ("cpu", &cpu)], &rest[..]].concat(), value as f64);
        }
    }
}

fn labels(usage: &Usage) -> [(&str, &str); 3] {
    [
        ("container_id", &usage.container),
        ("namespace", &usage.namespace),
        ("runtime", &usage.runtime),
    ]
}

#[rustfmt::skip]
const V1: &[Row<v1::Metrics>] = &[
    ("container_cpu_total_nanoseconds", "The total cpu time", |metrics| Some(metrics.cpu.as_ref()?.usage.as_ref()?.total)),
    ("container_cpu_kernel_nanoseconds", "The total kernel cpu time", |metrics| Some(metrics.cpu.as_ref()?.usage.as_ref()?.kernel)),
    ("container_cpu_user_nanoseconds", "The total user cpu time", |metrics| Some(metrics.cpu.as_ref()?.usage.as_ref()?.user)),
    ("container_cpu_throttle_periods_total", "The total cpu throttle periods", |metrics| Some(metrics.cpu.as_ref()?.throttling.as_ref()?.periods)),
    ("container_cpu_throttled_periods_total", "The total cpu throttled periods", |metrics| Some(metrics.cpu.as_ref()?.throttling.as_ref()?.throttled_periods)),
    ("container_cpu_throttled_time_nanoseconds", "The total cpu throttled time", |metrics| Some(metrics.cpu.as_ref()?.throttling.as_ref()?.throttled_time)),
    ("container_memory_cache_bytes", "The cache amount used", |metrics| Some(metrics.memory.as_ref()?.cache)),
    ("container_memory_rss_bytes", "The rss amount used", |metrics| Some(metrics.memory.as_ref()?.rss)),
    ("container_memory_rss_huge_bytes", "The rss_huge amount used", |metrics| Some(metrics.memory.as_ref()?.rss_huge)),
    ("container_memory_mapped_file_bytes", "The mapped_file amount used", |metrics| Some(metrics.memory.as_ref()?.mapped_file)),
    ("container_memory_dirty_bytes", "The dirty amount", |metrics| Some(metrics.memory.as_ref()?.dirty)),
    ("container_memory_writeback_bytes", "The writeback amount", |metrics| Some(metrics.memory.as_ref()?.writeback)),
    ("container_memory_pgpgin_bytes", "The pgpgin amount", |metrics| Some(metrics.memory.as_ref()?.pg_pg_in)),
    ("container_memory_pgpgout_bytes", "The pgpgout amount", |metrics| Some(metrics.memory.as_ref()?.pg_pg_out)),
    ("container_memory_pgfault_bytes", "The pgfault amount", |metrics| Some(metrics.memory.as_ref()?.pg_fault)),
    ("container_memory_pgmajfault_bytes", "The pgmajfault amount", |metrics| Some(metrics.memory.as_ref()?.pg_maj_fault)),
    ("container_memory_inactive_anon_bytes", "The inactive_anon amount", |metrics| Some(metrics.memory.as_ref()?.inactive_anon)),
    ("container_memory_active_anon_bytes", "The active_anon amount", |metrics| Some(metrics.memory.as_ref()?.active_anon)),
    ("container_memory_inactive_file_bytes", "The inactive_file amount", |metrics| Some(metrics.memory.as_ref()?.inactive_file)),
    ("container_memory_active_file_bytes", "The active_file amount", |metrics| Some(metrics.memory.as_ref()?.active_file)),
    ("container_memory_unevictable_bytes", "The unevictable amount", |metrics| Some(metrics.memory.as_ref()?.unevictable)),
    ("container_memory_hierarchical_memory_limit_bytes", "The hierarchical_memory_limit amount", |metrics| Some(metrics.memory.as_ref()?.hierarchical_memory_limit)),
    ("container_memory_hierarchical_memsw_limit_bytes", "The hierarchical_memsw_limit amount", |metrics| Some(metrics.memory.as_ref()?.hierarchical_swap_limit)),
    ("container_memory_total_cache_bytes", "The total_cache amount used", |metrics| Some(metrics.memory.as_ref()?.total_cache)),
    ("container_memory_total_rss_bytes", "The total_rss amount used", |metrics| Some(metrics.memory.as_ref()?.total_rss)),
    ("container_memory_total_rss_huge_bytes", "The total_rss_huge amount used", |metrics| Some(metrics.memory.as_ref()?.total_rss_huge)),
    ("container_memory_total_mapped_file_bytes", "The total_mapped_file amount used", |metrics| Some(metrics.memory.as_ref()?.total_mapped_file)),
    ("container_memory_total_dirty_bytes", "The total_dirty amount", |metrics| Some(metrics.memory.as_ref()?.total_dirty)),
    ("container_memory_total_writeback_bytes", "The total_writeback amount", |metrics| Some(metrics.memory.as_ref()?.total_writeback)),
    ("container_memory_total_pgpgin_bytes", "The total_pgpgin amount", |metrics| Some(metrics.memory.as_ref()?.total_pg_pg_in)),
    ("container_memory_total_pgpgout_bytes", "The total_pgpgout amount", |metrics| Some(metrics.memory.as_ref()?.total_pg_pg_out)),
    ("container_memory_total_pgfault_bytes", "The total_pgfault amount", |metrics| Some(metrics.memory.as_ref()?.total_pg_fault)),
    ("container_memory_total_pgmajfault_bytes", "The total_pgmajfault amount", |metrics| Some(metrics.memory.as_ref()?.total_pg_maj_fault)),
    ("container_memory_total_inactive_anon_bytes", "The total_inactive_anon amount", |metrics| Some(metrics.memory.as_ref()?.total_inactive_anon)),
    ("container_memory_total_active_anon_bytes", "The total_active_anon amount", |metrics| Some(metrics.memory.as_ref()?.total_active_anon)),
    ("container_memory_total_inactive_file_bytes", "The total_inactive_file amount", |metrics| Some(metrics.memory.as_ref()?.total_inactive_file)),
    ("container_memory_total_active_file_bytes", "The total_active_file amount", |metrics| Some(metrics.memory.as_ref()?.total_active_file)),
    ("container_memory_total_unevictable_bytes", "The total_unevictable amount", |metrics| Some(metrics.memory.as_ref()?.total_unevictable)),
    ("container_memory_usage_failcnt_total", "The usage failcnt", |metrics| Some(metrics.memory.as_ref()?.usage.as_ref()?.failcnt)),
    ("container_memory_usage_limit_bytes", "The memory limit", |metrics| Some(metrics.memory.as_ref()?.usage.as_ref()?.limit)),
    ("container_memory_usage_max_bytes", "The memory maximum usage", |metrics| Some(metrics.memory.as_ref()?.usage.as_ref()?.max)),
    ("container_memory_usage_usage_bytes", "The memory usage", |metrics| Some(metrics.memory.as_ref()?.usage.as_ref()?.usage)),
    ("container_memory_swap_failcnt_total", "The swap failcnt", |metrics| Some(metrics.memory.as_ref()?.swap.as_ref()?.failcnt)),
    ("container_memory_swap_limit_bytes", "The swap limit", |metrics| Some(metrics.memory.as_ref()?.swap.as_ref()?.limit)),
    ("container_memory_swap_max_bytes", "The swap maximum usage", |metrics| Some(metrics.memory.as_ref()?.swap.as_ref()?.max)),
    ("container_memory_swap_usage_bytes", "The swap usage", |metrics| Some(metrics.memory.as_ref()?.swap.as_ref()?.usage)),
    ("container_memory_kernel_failcnt_total", "The kernel failcnt", |metrics| Some(metrics.memory.as_ref()?.kernel.as_ref()?.failcnt)),
    ("container_memory_kernel_limit_bytes", "The kernel limit", |metrics| Some(metrics.memory.as_ref()?.kernel.as_ref()?.limit)),
    ("container_memory_kernel_max_bytes", "The kernel maximum usage", |metrics| Some(metrics.memory.as_ref()?.kernel.as_ref()?.max)),
    ("container_memory_kernel_usage_bytes", "The kernel usage", |metrics| Some(metrics.memory.as_ref()?.kernel.as_ref()?.usage)),
    ("container_memory_kerneltcp_failcnt_total", "The kerneltcp failcnt", |metrics| Some(metrics.memory.as_ref()?.kernel_tcp.as_ref()?.failcnt)),
    ("container_memory_kerneltcp_limit_bytes", "The kerneltcp limit", |metrics| Some(metrics.memory.as_ref()?.kernel_tcp.as_ref()?.limit)),
    ("container_memory_kerneltcp_max_bytes", "The kerneltcp maximum usage", |metrics| Some(metrics.memory.as_ref()?.kernel_tcp.as_ref()?.max)),
    ("container_memory_kerneltcp_usage_bytes", "The kerneltcp usage", |metrics| Some(metrics.memory.as_ref()?.kernel_tcp.as_ref()?.usage)),
    ("container_pids_current", "The current number of pids", |metrics| Some(metrics.pids.as_ref()?.current)),
    ("container_pids_limit", "The limit to the number of pids allowed", |metrics| Some(metrics.pids.as_ref()?.limit)),
];

#[rustfmt::skip]
const V2: &[Row<v2::Metrics>] = &[
    ("container_cpu_usage_usec_microseconds", "Total cpu usage (cgroup v2)", |metrics| Some(metrics.cpu.as_ref()?.usage_usec)),
    ("container_cpu_user_usec_microseconds", "Current cpu usage in user space (cgroup v2)", |metrics| Some(metrics.cpu.as_ref()?.user_usec)),
    ("container_cpu_system_usec_microseconds", "Current cpu usage in kernel space (cgroup v2)", |metrics| Some(metrics.cpu.as_ref()?.system_usec)),
    ("container_cpu_nr_periods_total", "Current cpu number of periods (only if controller is enabled)", |metrics| Some(metrics.cpu.as_ref()?.nr_periods)),
    ("container_cpu_nr_throttled_total", "Total number of times tasks have been throttled (only if controller is enabled)", |metrics| Some(metrics.cpu.as_ref()?.nr_throttled)),
    ("container_cpu_throttled_usec_microseconds", "Total time duration for which tasks have been throttled. (only if controller is enabled)", |metrics| Some(metrics.cpu.as_ref()?.throttled_usec)),
    ("container_memory_usage_bytes", "Current memory usage (cgroup v2)", |metrics| Some(metrics.memory.as_ref()?.usage)),
    ("container_memory_usage_limit_bytes", "Current memory usage limit (cgroup v2)", |metrics| Some(metrics.memory.as_ref()?.usage_limit)),
    ("container_memory_swap_usage_bytes", "Current swap usage (cgroup v2)", |metrics| Some(metrics.memory.as_ref()?.swap_usage)),
    ("container_memory_swap_limit_bytes", "Current swap usage limit (cgroup v2)", |metrics| Some(metrics.memory.as_ref()?.swap_limit)),
    ("container_memory_file_mapped_bytes", "The file_mapped amount", |metrics| Some(metrics.memory.as_ref()?.file_mapped)),
    ("container_memory_file_dirty_bytes", "The file_dirty amount", |metrics| Some(metrics.memory.as_ref()?.file_dirty)),
    ("container_memory_file_writeback_bytes", "The file_writeback amount", |metrics| Some(metrics.memory.as_ref()?.file_writeback)),
    ("container_memory_pgactivate_bytes", "The pgactivate amount", |metrics| Some(metrics.memory.as_ref()?.pgactivate)),
    ("container_memory_pgdeactivate_bytes", "The pgdeactivate amount", |metrics| Some(metrics.memory.as_ref()?.pgdeactivate)),
    ("container_memory_pgfault_bytes", "The pgfault amount", |metrics| Some(metrics.memory.as_ref()?.pgfault)),
    ("container_memory_pgmajfault_bytes", "The pgmajfault amount", |metrics| Some(metrics.memory.as_ref()?.pgmajfault)),
    ("container_memory_pglazyfree_bytes", "The pglazyfree amount", |metrics| Some(metrics.memory.as_ref()?.pglazyfree)),
    ("container_memory_pgrefill_bytes", "The pgrefill amount", |metrics| Some(metrics.memory.as_ref()?.pgrefill)),
    ("container_memory_pglazyfreed_bytes", "The pglazyfreed amount", |metrics| Some(metrics.memory.as_ref()?.pglazyfreed)),
    ("container_memory_pgscan_bytes", "The pgscan amount", |metrics| Some(metrics.memory.as_ref()?.pgscan)),
    ("container_memory_pgsteal_bytes", "The pgsteal amount", |metrics| Some(metrics.memory.as_ref()?.pgsteal)),
    ("container_memory_inactive_anon_bytes", "The inactive_anon amount", |metrics| Some(metrics.memory.as_ref()?.inactive_anon)),
    ("container_memory_active_anon_bytes", "The active_anon amount", |metrics| Some(metrics.memory.as_ref()?.active_anon)),
    ("container_memory_inactive_file_bytes", "The inactive_file amount", |metrics| Some(metrics.memory.as_ref()?.inactive_file)),
    ("container_memory_active_file_bytes", "The active_file amount", |metrics| Some(metrics.memory.as_ref()?.active_file)),
    ("container_memory_unevictable_bytes", "The unevictable amount", |metrics| Some(metrics.memory.as_ref()?.unevictable)),
    ("container_memory_anon_bytes", "The anon amount", |metrics| Some(metrics.memory.as_ref()?.anon)),
    ("container_memory_file_bytes", "The file amount", |metrics| Some(metrics.memory.as_ref()?.file)),
    ("container_memory_kernel_stack_bytes", "The kernel_stack amount", |metrics| Some(metrics.memory.as_ref()?.kernel_stack)),
    ("container_memory_slab_bytes", "The slab amount", |metrics| Some(metrics.memory.as_ref()?.slab)),
    ("container_memory_sock_bytes", "The sock amount", |metrics| Some(metrics.memory.as_ref()?.sock)),
    ("container_memory_shmem_bytes", "The shmem amount", |metrics| Some(metrics.memory.as_ref()?.shmem)),
    ("container_memory_anon_thp_bytes", "The anon_thp amount", |metrics| Some(metrics.memory.as_ref()?.anon_thp)),
    ("container_memory_slab_reclaimable_bytes", "The slab_reclaimable amount", |metrics| Some(metrics.memory.as_ref()?.slab_reclaimable)),
    ("container_memory_slab_unreclaimable_bytes", "The slab_unreclaimable amount", |metrics| Some(metrics.memory.as_ref()?.slab_unreclaimable)),
    ("container_memory_workingset_nodereclaim_bytes", "The workingset_nodereclaim amount", |metrics| Some(metrics.memory.as_ref()?.workingset_nodereclaim)),
    ("container_memory_thp_fault_alloc_bytes", "The thp_fault_alloc amount", |metrics| Some(metrics.memory.as_ref()?.thp_fault_alloc)),
    ("container_memory_thp_collapse_alloc_bytes", "The thp_collapse_alloc amount", |metrics| Some(metrics.memory.as_ref()?.thp_collapse_alloc)),
    ("container_memory_oom_total", "The number of times a container has received an oom event", |metrics| Some(metrics.memory_events.as_ref()?.oom)),
    ("container_pids_limit", "The limit to the number of pids allowed (cgroup v2)", |metrics| Some(metrics.pids.as_ref()?.limit)),
    ("container_pids_current", "The current number of pids (cgroup v2)", |metrics| Some(metrics.pids.as_ref()?.current)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_under_the_names_of_their_kind_of_cgroup() {
        let metrics = v2::Metrics {
            pids: Some(v2::PidsStat { current: 3, limit: 0 }),
            ..Default::default()
        };
        let usage = Usage {
            container: "c".into(),
            namespace: "n".into(),
            runtime: "r".into(),
            numbers: Numbers::read("io.containerd.cgroups.v2.Metrics", &metrics.encode_to_vec()).unwrap(),
        };
        let mut text = Exposition::default();
        write(&[usage], &mut text);
        let text = text.into_text();
        let line = "container_pids_current{container_id=\"c\",namespace=\"n\",runtime=\"r\"} 3";
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(
            !text.contains("memory"),
            "a controller that is not there has no numbers: {text}"
        );
        assert!(Numbers::read("x", &[]).is_none());
    }
}
