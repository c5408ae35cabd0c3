use serde_json::{Value, json};

use super::*;

fn parse(value: &Value) -> LinuxResources {
    serde_json::from_value(value.clone()).unwrap()
}

fn merged(old: &Value, wanted: &Value) -> Value {
    serde_json::to_value(merge(&parse(old), &parse(wanted))).unwrap()
}

fn written(old: &Value, wanted: &Value) -> Value {
    let wanted = parse(wanted);
    serde_json::to_value(to_write(&merge(&parse(old), &wanted), &wanted)).unwrap()
}

#[test]
fn what_is_not_named_keeps_its_value() {
    let old = json!({"memory": {"limit": 5, "swap": 9, "reservation": 3, "swappiness": 7}, "cpu": {"shares": 2},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "blockIO": {"weight": 20}});
    let wanted = json!({"memory": {"limit": 6}});
    let memory = json!({"limit": 6, "swap": 9, "reservation": 3, "swappiness": 7, "checkBeforeUpdate": false});
    for result in [merged(&old, &wanted), written(&old, &wanted)] {
        assert_eq!(result["memory"], memory);
        assert_eq!(result["cpu"], json!({"shares": 2}));
        assert_eq!(result["hugepageLimits"][0]["limit"], 1);
        assert_eq!(result["blockIO"]["weight"], 20);
    }
}

#[test]
fn quota_and_period_belong_together() {
    let old = json!({"cpu": {"quota": 500, "period": 1000}});
    let both = |wanted: Value| {
        let wanted = json!({"cpu": wanted});
        let [kept, written] = [merged(&old, &wanted), written(&old, &wanted)]
            .map(|result| (result["cpu"]["quota"].clone(), result["cpu"]["period"].clone()));
        if written != (Value::Null, Value::Null) {
            assert_eq!(kept, written);
        }
        (kept, written)
    };
    assert_eq!(both(json!({"quota": 700})).1, (json!(700), json!(1000)));
    assert_eq!(both(json!({"period": 2000})).1, (json!(500), json!(2000)));
    assert_eq!(both(json!({"quota": 1, "period": 2})).1, (json!(1), json!(2)));
    for nothing in [json!({}), json!({"quota": 0, "period": 0})] {
        let (kept, written) = both(nothing);
        assert_eq!(kept, (json!(500), json!(1000)));
        assert_eq!(written, (Value::Null, Value::Null));
    }
}

#[test]
fn sets_and_numbers_of_processes_are_kept_but_not_written_again() {
    let old = json!({"cpu": {"cpus": "0", "mems": "0", "burst": 5, "idle": 0}, "pids": {"limit": 3},
        "unified": {"memory.high": "1"}});
    let wanted = json!({"cpu": {"shares": 4}, "pids": {"limit": 0}});
    let result = written(&old, &wanted);
    assert_eq!(result["cpu"], json!({"shares": 4}));
    assert_eq!(
        (&result["pids"]["limit"], &result["unified"]),
        (&json!(0), &Value::Null)
    );
    let result = merged(&old, &wanted);
    assert_eq!(
        result["cpu"],
        json!({"cpus": "0", "mems": "0", "burst": 5, "idle": 0, "shares": 4})
    );
    assert_eq!((&result["pids"], &result["unified"]), (&old["pids"], &old["unified"]));

    let wanted = json!({"cpu": {"cpus": "1", "burst": 6, "idle": 1}, "pids": {"limit": 4}, "unified": {"a.b": "2"}});
    let result = written(&old, &wanted);
    assert_eq!(result["cpu"], wanted["cpu"]);
    assert_eq!(
        (&result["pids"], &result["unified"]),
        (&wanted["pids"], &wanted["unified"])
    );
    assert_eq!(
        merged(&old, &wanted)["unified"],
        json!({"memory.high": "1", "a.b": "2"})
    );
}

#[test]
fn idle_takes_the_shares_along_and_lifted_memory_the_swap() {
    let idle = merged(&json!({"cpu": {"shares": 5}}), &json!({"cpu": {"idle": 1}}));
    assert_eq!(idle["cpu"], json!({"idle": 1}));
    // The kernel refuses to give an idle cgroup shares, so they are not written again either.
    let both = json!({"cpu": {"idle": 1, "shares": 5}});
    assert_eq!(written(&both, &json!({"pids": {"limit": 1}}))["cpu"], json!({}));
    assert_eq!(
        written(&both, &json!({"cpu": {"shares": 6}}))["cpu"],
        json!({"shares": 6})
    );
    let result = merged(
        &json!({"memory": {"limit": 5, "swap": 9}}),
        &json!({"memory": {"limit": -1}}),
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
    let result = merged(&old, &wanted);
    assert_eq!(
        result["blockIO"]["throttleReadBpsDevice"],
        json!([{"major": 8, "minor": 0, "rate": 6}, {"major": 9, "minor": 1, "rate": 7}])
    );
    assert_eq!(
        result["blockIO"]["weightDevice"],
        json!([{"major": 8, "minor": 0, "weight": 11, "leafWeight": 20}])
    );
}

/// runc drops these without a word.
#[test]
fn pages_interfaces_and_rdma_devices_are_changed_or_added_too() {
    let old = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"mlx4_0": {"hcaHandles": 1, "hcaObjects": 2}}, "memory": {"disableOOMKiller": true}});
    let wanted = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2}, {"pageSize": "1GB", "limit": 3}],
        "network": {"priorities": [{"name": "lo", "priority": 4}, {"name": "eth0", "priority": 5}]},
        "rdma": {"mlx4_0": {"hcaHandles": 6}, "mlx4_1": {"hcaObjects": 7}},
        "memory": {"disableOOMKiller": false, "swappiness": 8}});
    let result = written(&old, &wanted);
    assert_eq!(result["hugepageLimits"], wanted["hugepageLimits"]);
    assert_eq!(
        result["network"],
        json!({"classID": 1, "priorities": [{"name": "lo", "priority": 4}, {"name": "eth0", "priority": 5}]})
    );
    assert_eq!(
        result["rdma"],
        json!({"mlx4_0": {"hcaHandles": 6, "hcaObjects": 2}, "mlx4_1": {"hcaObjects": 7}})
    );
    assert_eq!(
        result["memory"],
        json!({"disableOOMKiller": false, "swappiness": 8, "checkBeforeUpdate": false})
    );
    assert_eq!(merged(&old, &json!({}))["hugepageLimits"], old["hugepageLimits"]);
}
