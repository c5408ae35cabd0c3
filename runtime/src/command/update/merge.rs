//! New limits upon old ones, by runc's rules.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice,
    LinuxWeightDeviceBuilder,
};

/// What `wanted` makes of `old`.
///
/// Most limits that are not given keep their value. These do not: the sets of processors and nodes, burst, idle, the
/// number of processes and the `unified` files, which are not written again where they are not given.
pub(super) fn merge(old: &LinuxResources, wanted: &LinuxResources) -> LinuxResources {
    let mut merged = old.clone();
    let cpu = wanted.cpu().clone().unwrap_or_default();
    merged.set_cpu(Some(merge_cpu(&old.cpu().clone().unwrap_or_default(), cpu)));
    merged.set_memory(Some(merge_memory(
        old.memory().unwrap_or_default(),
        wanted.memory().unwrap_or_default(),
    )));
    if let Some(io) = wanted.block_io() {
        merged.set_block_io(Some(merge_io(old.block_io().clone().unwrap_or_default(), io)));
    }
    merged.set_pids(*wanted.pids());
    merged.set_unified(wanted.unified().clone());
    merged
}

fn merge_cpu(old: &LinuxCpu, wanted: LinuxCpu) -> LinuxCpu {
    let mut merged = wanted.clone();
    // An idle cgroup has no shares, and one that was idle has the shares of its own choice.
    merged.set_shares(match wanted.idle() {
        Some(_) => wanted.shares(),
        None => wanted.shares().or(old.shares()),
    });
    merged.set_realtime_period(wanted.realtime_period().or(old.realtime_period()));
    merged.set_realtime_runtime(wanted.realtime_runtime().or(old.realtime_runtime()));
    // A quota means nothing without a period and the other way round: the one that is missing keeps its value.
    let period = wanted.period().filter(|period| *period != 0);
    let quota = wanted.quota().filter(|quota| *quota != 0);
    if period.is_some() != quota.is_some() {
        merged.set_period(period.or(old.period()));
        merged.set_quota(quota.or(old.quota()));
    }
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
    merged.set_kernel(wanted.kernel());
    merged.set_kernel_tcp(wanted.kernel_tcp());
    merged.set_check_before_update(Some(wanted.check_before_update().unwrap_or_default()));
    merged
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

/// A device that is known changes, one that is not is added. Of one that is there twice, the last counts.
fn with_weights(old: &Weights, wanted: &Weights) -> Weights {
    let mut devices = old.clone().unwrap_or_default();
    for new in wanted.iter().flatten() {
        let same = |known: &&mut LinuxWeightDevice| (known.major(), known.minor()) == (new.major(), new.minor());
        match devices.iter_mut().rev().find(same) {
            Some(known) => *known = with_weight(known, new),
            None => devices.push(*new),
        }
    }
    (!devices.is_empty()).then_some(devices)
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
        let same = |known: &&mut LinuxThrottleDevice| (known.major(), known.minor()) == (new.major(), new.minor());
        match devices.iter_mut().rev().find(same) {
            Some(known) => *known = *new,
            None => devices.push(*new),
        }
    }
    (!devices.is_empty()).then_some(devices)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn merged(old: Value, wanted: Value) -> Value {
        let parse = |value| serde_json::from_value(value).unwrap();
        serde_json::to_value(merge(&parse(old), &parse(wanted))).unwrap()
    }

    #[test]
    fn what_is_not_named_keeps_its_value() {
        let old = json!({"memory": {"limit": 5, "swap": 9, "reservation": 3, "swappiness": 7}, "cpu": {"shares": 2},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "blockIO": {"weight": 20}});
        let result = merged(old, json!({"memory": {"limit": 6}}));
        let memory = json!({"limit": 6, "swap": 9, "reservation": 3, "swappiness": 7, "checkBeforeUpdate": false});
        assert_eq!(result["memory"], memory);
        assert_eq!(result["cpu"], json!({"shares": 2}));
        assert_eq!(result["hugepageLimits"][0]["limit"], 1);
        assert_eq!(result["blockIO"]["weight"], 20);
    }

    #[test]
    fn quota_and_period_belong_together() {
        let old = || json!({"cpu": {"quota": 500, "period": 1000}});
        let both = |wanted: Value| {
            let cpu = merged(old(), json!({"cpu": wanted}))["cpu"].clone();
            (cpu["quota"].clone(), cpu["period"].clone())
        };
        assert_eq!(both(json!({"quota": 700})), (json!(700), json!(1000)));
        assert_eq!(both(json!({"period": 2000})), (json!(500), json!(2000)));
        assert_eq!(both(json!({"quota": 1, "period": 2})), (json!(1), json!(2)));
        assert_eq!(both(json!({})), (Value::Null, Value::Null));
    }

    #[test]
    fn sets_and_numbers_of_processes_are_not_written_again() {
        let old = json!({"cpu": {"cpus": "0", "mems": "0", "burst": 5, "idle": 1}, "pids": {"limit": 3},
            "unified": {"memory.high": "1"}});
        let result = merged(old, json!({"cpu": {"shares": 4}}));
        assert_eq!(result["cpu"], json!({"shares": 4}));
        assert_eq!((&result["pids"], &result["unified"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn idle_takes_the_shares_along_and_lifted_memory_the_swap() {
        let result = merged(json!({"cpu": {"shares": 5}}), json!({"cpu": {"idle": 1}}));
        assert_eq!(result["cpu"], json!({"idle": 1}));
        let result = merged(
            json!({"memory": {"limit": 5, "swap": 9}}),
            json!({"memory": {"limit": -1}}),
        );
        assert_eq!(
            (&result["memory"]["limit"], &result["memory"]["swap"]),
            (&json!(-1), &json!(0))
        );
    }

    #[test]
    fn devices_are_changed_or_added() {
        let old = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}],
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}]}});
        let wanted = json!({"blockIO": {
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 6}, {"major": 9, "minor": 1, "rate": 7}],
            "weightDevice": [{"major": 8, "minor": 0, "weight": 11}]}});
        let result = merged(old, wanted);
        assert_eq!(
            result["blockIO"]["throttleReadBpsDevice"],
            json!([{"major": 8, "minor": 0, "rate": 6}, {"major": 9, "minor": 1, "rate": 7}])
        );
        assert_eq!(
            result["blockIO"]["weightDevice"],
            json!([{"major": 8, "minor": 0, "weight": 11, "leafWeight": 20}])
        );
    }
}
