//! New limits upon old ones, by runc's rules.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxInterfacePriority, LinuxMemory, LinuxNetwork, LinuxRdma,
    LinuxRdmaBuilder, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

/// What `wanted` makes of `old`: what is not given keeps its value.
pub(super) fn merge(old: &LinuxResources, wanted: &LinuxResources) -> LinuxResources {
    let mut merged = old.clone();
    if let Some(cpu) = wanted.cpu() {
        merged.set_cpu(Some(merge_cpu(&old.cpu().clone().unwrap_or_default(), cpu)));
    }
    merged.set_memory(Some(merge_memory(
        old.memory().unwrap_or_default(),
        wanted.memory().unwrap_or_default(),
    )));
    if let Some(io) = wanted.block_io() {
        merged.set_block_io(Some(merge_io(old.block_io().clone().unwrap_or_default(), io)));
    }
    if let Some(pids) = wanted.pids().filter(|pids| pids.limit() != 0) {
        merged.set_pids(Some(pids));
    }
    if let Some(network) = wanted.network() {
        merged.set_network(Some(merge_network(old.network().clone().unwrap_or_default(), network)));
    }
    merged.set_hugepage_limits(with_pages(old.hugepage_limits(), wanted.hugepage_limits()));
    merged.set_rdma(with_devices(old.rdma(), wanted.rdma()));
    if let Some(files) = wanted.unified() {
        let mut merged_files = old.unified().clone().unwrap_or_default();
        merged_files.extend(files.clone());
        merged.set_unified(Some(merged_files));
    }
    merged
}

/// What of `merged` is written to the kernel. Most of it is written again, given or not; these are not, for somebody else
/// may have set them since: the sets of processors and nodes, quota, period, burst, idle, the number of processes and
/// the `unified` files.
pub(super) fn to_write(merged: &LinuxResources, wanted: &LinuxResources) -> LinuxResources {
    let mut written = merged.clone();
    written.set_pids(*wanted.pids());
    written.set_unified(wanted.unified().clone());
    if let Some(mut cpu) = merged.cpu().clone() {
        let given = wanted.cpu().clone().unwrap_or_default();
        // An idle cgroup takes no shares.
        if cpu.idle() == Some(1) && given.shares().is_none() {
            cpu.set_shares(None);
        }
        cpu.set_cpus(given.cpus().clone());
        cpu.set_mems(given.mems().clone());
        cpu.set_burst(given.burst());
        cpu.set_idle(given.idle());
        // A quota means nothing without a period and the other way round.
        if some(given.period()).is_none() && some(given.quota()).is_none() {
            cpu.set_period(None);
            cpu.set_quota(None);
        }
        written.set_cpu(Some(cpu));
    }
    written
}

/// 0 stands for nothing.
fn some<N: PartialEq + Default>(number: Option<N>) -> Option<N> {
    number.filter(|number| *number != N::default())
}

fn merge_cpu(old: &LinuxCpu, wanted: &LinuxCpu) -> LinuxCpu {
    let mut merged = old.clone();
    // An idle cgroup has no shares, and one that was idle has the shares of its own choice.
    merged.set_shares(match wanted.idle() {
        Some(_) => wanted.shares(),
        None => wanted.shares().or(old.shares()),
    });
    merged.set_realtime_period(wanted.realtime_period().or(old.realtime_period()));
    merged.set_realtime_runtime(wanted.realtime_runtime().or(old.realtime_runtime()));
    merged.set_period(some(wanted.period()).or(old.period()));
    merged.set_quota(some(wanted.quota()).or(old.quota()));
    merged.set_burst(wanted.burst().or(old.burst()));
    merged.set_idle(wanted.idle().or(old.idle()));
    merged.set_cpus(wanted.cpus().clone().or(old.cpus().clone()));
    merged.set_mems(wanted.mems().clone().or(old.mems().clone()));
    merged
}

fn merge_memory(old: LinuxMemory, wanted: LinuxMemory) -> LinuxMemory {
    let mut merged = old;
    if let Some(limit) = wanted.limit() {
        merged.set_limit(Some(limit));
    }
    // Without a limit of memory there is none to add swap to.
    let lifted = wanted.limit() == Some(-1) && wanted.swap().is_none();
    if let Some(swap) = wanted.swap().or(lifted.then_some(0)) {
        merged.set_swap(Some(swap));
    }
    if let Some(reservation) = wanted.reservation() {
        merged.set_reservation(Some(reservation));
    }
    if let Some(swappiness) = wanted.swappiness() {
        merged.set_swappiness(Some(swappiness));
    }
    if let Some(disable) = wanted.disable_oom_killer() {
        merged.set_disable_oom_killer(Some(disable));
    }
    merged.set_kernel(wanted.kernel());
    merged.set_kernel_tcp(wanted.kernel_tcp());
    merged.set_check_before_update(Some(wanted.check_before_update().unwrap_or_default()));
    merged
}

fn merge_network(old: LinuxNetwork, wanted: &LinuxNetwork) -> LinuxNetwork {
    let mut merged = old.clone();
    merged.set_class_id(wanted.class_id().or(old.class_id()));
    let mut priorities = old.priorities().clone().unwrap_or_default();
    for new in wanted.priorities().iter().flatten() {
        let same = |known: &LinuxInterfacePriority| known.name() == new.name();
        put(&mut priorities, same, new.clone());
    }
    merged.set_priorities(listed(priorities));
    merged
}

fn with_pages(
    old: &Option<Vec<LinuxHugepageLimit>>,
    wanted: &Option<Vec<LinuxHugepageLimit>>,
) -> Option<Vec<LinuxHugepageLimit>> {
    let mut limits = old.clone().unwrap_or_default();
    for new in wanted.iter().flatten() {
        let same = |known: &LinuxHugepageLimit| known.page_size() == new.page_size();
        put(&mut limits, same, new.clone());
    }
    listed(limits)
}

fn with_devices(
    old: &Option<HashMap<String, LinuxRdma>>,
    wanted: &Option<HashMap<String, LinuxRdma>>,
) -> Option<HashMap<String, LinuxRdma>> {
    let mut devices = old.clone().unwrap_or_default();
    for (name, new) in wanted.iter().flatten() {
        let known = devices.get(name).copied().unwrap_or_default();
        devices.insert(name.clone(), with_handles(known, *new));
    }
    (!devices.is_empty()).then_some(devices)
}

fn with_handles(known: LinuxRdma, new: LinuxRdma) -> LinuxRdma {
    let mut builder = LinuxRdmaBuilder::default();
    if let Some(handles) = new.hca_handles().or(known.hca_handles()) {
        builder = builder.hca_handles(handles);
    }
    if let Some(objects) = new.hca_objects().or(known.hca_objects()) {
        builder = builder.hca_objects(objects);
    }
    builder.build().expect("every field of a device has a default")
}

/// One that is known changes, one that is not is added. Of one that is there twice, the last counts.
fn put<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, new: T) {
    match list.iter_mut().rev().find(|known| same(known)) {
        Some(known) => *known = new,
        None => list.push(new),
    }
}

fn listed<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn merge_io(old: LinuxBlockIo, wanted: &LinuxBlockIo) -> LinuxBlockIo {
    let mut merged = old.clone();
    if wanted.weight().is_some() {
        merged.set_weight(wanted.weight());
    }
    if wanted.leaf_weight().is_some() {
        merged.set_leaf_weight(wanted.leaf_weight());
    }
    merged.set_weight_device(with_weights(old.weight_device(), wanted.weight_device()));
    merged.set_throttle_read_bps_device(with_rates(
        old.throttle_read_bps_device(),
        wanted.throttle_read_bps_device(),
    ));
    merged.set_throttle_write_bps_device(with_rates(
        old.throttle_write_bps_device(),
        wanted.throttle_write_bps_device(),
    ));
    merged.set_throttle_read_iops_device(with_rates(
        old.throttle_read_iops_device(),
        wanted.throttle_read_iops_device(),
    ));
    merged.set_throttle_write_iops_device(with_rates(
        old.throttle_write_iops_device(),
        wanted.throttle_write_iops_device(),
    ));
    merged
}

type Weights = Option<Vec<LinuxWeightDevice>>;

fn with_weights(old: &Weights, wanted: &Weights) -> Weights {
    let mut devices = old.clone().unwrap_or_default();
    for new in wanted.iter().flatten() {
        let same = |known: &LinuxWeightDevice| (known.major(), known.minor()) == (new.major(), new.minor());
        let known = devices.iter().rev().find(|known| same(known));
        let weighed = known.map_or(*new, |known| with_weight(known, new));
        put(&mut devices, same, weighed);
    }
    listed(devices)
}

fn with_weight(known: &LinuxWeightDevice, new: &LinuxWeightDevice) -> LinuxWeightDevice {
    let mut builder = LinuxWeightDeviceBuilder::default()
        .major(new.major())
        .minor(new.minor());
    if let Some(weight) = new.weight().or(known.weight()) {
        builder = builder.weight(weight);
    }
    if let Some(weight) = new.leaf_weight().or(known.leaf_weight()) {
        builder = builder.leaf_weight(weight);
    }
    builder.build().expect("every field of a weight has a default")
}

type Rates = Option<Vec<LinuxThrottleDevice>>;

fn with_rates(old: &Rates, wanted: &Rates) -> Rates {
    let mut devices = old.clone().unwrap_or_default();
    for new in wanted.iter().flatten() {
        let same = |known: &LinuxThrottleDevice| (known.major(), known.minor()) == (new.major(), new.minor());
        put(&mut devices, same, *new);
    }
    listed(devices)
}

#[cfg(test)]
mod tests;
