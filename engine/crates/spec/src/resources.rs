//! Limits: checked at creation, turned into cgroup settings at start.

use oci_spec::runtime::{
    LinuxBlockIoBuilder, LinuxCpu, LinuxCpuBuilder, LinuxDeviceCgroup, LinuxMemory, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};

use crate::{error::SpecError, host::Resources};

/// The least memory that a container can start with.
const LEAST_MEMORY: i64 = 6 << 20;

const CPU_PERIOD: u64 = 100_000;

/// Refuses limits that contradict each other or the machine, in Docker's words.
pub fn check(resources: &Resources, cpus: usize) -> Result<(), SpecError> {
    let invalid = |text: &str| Err(SpecError::invalid(text));
    let Resources {
        memory,
        memory_swap,
        memory_reservation,
        ..
    } = *resources;
    if memory < 0 || memory_reservation < 0 || resources.cpu_shares < 0 || resources.nano_cpus < 0 {
        return invalid("negative resource limits are not allowed");
    }
    if memory > 0 && memory < LEAST_MEMORY {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if memory > 0 && memory_swap > 0 && memory_swap < memory {
        return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
    if memory == 0 && memory_swap > 0 {
        return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
    }
    if memory > 0 && memory_reservation > memory {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    if resources
        .memory_swappiness
        .is_some_and(|value| !(-1..=100).contains(&value))
    {
        let value = resources.memory_swappiness.unwrap_or_default();
        return invalid(&format!(
            "Invalid value: {value}, valid memory swappiness range is 0-100"
        ));
    }
    if resources.nano_cpus > 0 && (resources.cpu_period > 0 || resources.cpu_quota > 0) {
        return invalid("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set");
    }
    if resources.nano_cpus > cpus as i64 * 1_000_000_000 {
        let text = format!("range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available");
        return invalid(&text);
    }
    if resources.cpu_period != 0 && !(1_000..=1_000_000).contains(&resources.cpu_period) {
        return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1_000 {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if resources.blkio_weight != 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return invalid("Range of blkio weight is from 10 to 1000");
    }
    check_list("cpus", &resources.cpuset_cpus)?;
    check_list("mems", &resources.cpuset_mems)
}

/// The kernel's list syntax, with a bound on its numbers: an unbounded range would be expanded in memory somewhere.
fn check_list(what: &str, list: &str) -> Result<(), SpecError> {
    const LARGEST: u32 = 8192;
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number < LARGEST);
    let valid = list.is_empty()
        || list.split(',').all(|part| match part.split_once('-') {
            Some((first, last)) => number(first).is_some() && number(first) <= number(last),
            None => number(part).is_some(),
        });
    if valid {
        Ok(())
    } else {
        Err(SpecError::invalid(format!("Invalid value {list} for cpuset {what}")))
    }
}

/// The cgroup settings.
pub(crate) fn resources(resources: &Resources, devices: Vec<LinuxDeviceCgroup>) -> LinuxResources {
    let mut built = LinuxResourcesBuilder::default()
        .devices(devices)
        .memory(memory(resources));
    if let Some(cpu) = cpu(resources) {
        built = built.cpu(cpu);
    }
    if resources.pids_limit != 0 {
        let pids = LinuxPidsBuilder::default().limit(resources.pids_limit);
        built = built.pids(pids.build().expect("the limit is set"));
    }
    if resources.blkio_weight != 0 {
        let weight = LinuxBlockIoBuilder::default().weight(resources.blkio_weight);
        built = built.block_io(weight.build().expect("every field has a default"));
    }
    built.build().expect("every field has a default")
}

fn memory(resources: &Resources) -> LinuxMemory {
    let mut memory = LinuxMemoryBuilder::default();
    if resources.oom_kill_disable {
        memory = memory.disable_oom_killer(true);
    }
    if resources.memory > 0 {
        memory = memory.limit(resources.memory);
        // Docker's default: as much swap as memory.
        let swap = if resources.memory_swap == 0 {
            resources.memory.saturating_mul(2)
        } else {
            resources.memory_swap
        };
        memory = memory.swap(swap);
    }
    if resources.memory_reservation > 0 {
        memory = memory.reservation(resources.memory_reservation);
    }
    if let Some(swappiness) = resources.memory_swappiness.and_then(|value| u64::try_from(value).ok()) {
        memory = memory.swappiness(swappiness);
    }
    memory.build().expect("every field has a default")
}

fn cpu(resources: &Resources) -> Option<LinuxCpu> {
    let mut cpu = LinuxCpuBuilder::default();
    if resources.cpu_shares > 0 {
        cpu = cpu.shares(resources.cpu_shares as u64);
    }
    if resources.nano_cpus > 0 {
        let quota = resources.nano_cpus.saturating_mul(CPU_PERIOD as i64) / 1_000_000_000;
        cpu = cpu.period(CPU_PERIOD).quota(quota);
    }
    if resources.cpu_period > 0 {
        cpu = cpu.period(resources.cpu_period as u64);
    }
    if resources.cpu_quota != 0 {
        cpu = cpu.quota(resources.cpu_quota);
    }
    if !resources.cpuset_cpus.is_empty() {
        cpu = cpu.cpus(resources.cpuset_cpus.clone());
    }
    if !resources.cpuset_mems.is_empty() {
        cpu = cpu.mems(resources.cpuset_mems.clone());
    }
    let cpu = cpu.build().expect("every field has a default");
    (cpu != LinuxCpu::default()).then_some(cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictory_limits_are_refused_before_anything_is_made() {
        let check = |change: &dyn Fn(&mut Resources)| {
            let mut limits = Resources::default();
            change(&mut limits);
            check(&limits, 2)
        };
        assert!(check(&|_| {}).is_ok());
        assert!(check(&|limits| limits.memory = 1024).is_err());
        assert!(check(&|limits| limits.memory_swap = 1 << 30).is_err());
        assert!(check(&|limits| limits.nano_cpus = 3_000_000_000).is_err());
        assert!(check(&|limits| limits.cpuset_mems = "0-4294967295".into()).is_err());
        assert!(check(&|limits| limits.cpuset_cpus = "0-1,3".into()).is_ok());
        assert!(check(&|limits| limits.blkio_weight = 5).is_err());
    }

    #[test]
    fn cpus_become_a_quota_and_memory_doubles_into_swap() {
        let limits = Resources {
            nano_cpus: 1_500_000_000,
            memory: 64 << 20,
            ..Resources::default()
        };
        assert_eq!(cpu(&limits).unwrap().quota(), Some(150_000));
        assert_eq!(memory(&limits).swap(), Some(128 << 20));
        assert_eq!(cpu(&Resources::default()), None);
    }
}
