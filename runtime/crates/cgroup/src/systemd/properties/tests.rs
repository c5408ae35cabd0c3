use super::*;

fn check(resources: &str, version: Version, systemd: u32, expected: &[(&str, Value)]) {
    let resources = serde_json::from_str(resources).unwrap();
    let found = of(&resources, version, systemd, false).unwrap();
    let expected: Vec<Property> = expected
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn limits_of_v2_have_their_properties() {
    check(
        r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}, "pids": {"limit": -1},
            "cpu": {"shares": 1024, "quota": 5000, "period": 100000, "cpus": "0-1", "mems": "0"},
            "blockIO": {"weight": 1000}}"#,
        Version::V2,
        252,
        &[
            ("MemoryMax", Value::U64(100)),
            ("MemoryLow", Value::U64(50)),
            ("MemorySwapMax", Value::U64(200)),
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPeriodUSec", Value::U64(100_000)),
            ("CPUQuotaPerSecUSec", Value::U64(50_000)),
            ("AllowedCPUs", Value::bytes(&[3])),
            ("AllowedMemoryNodes", Value::bytes(&[1])),
            ("IOWeight", Value::U64(10_000)),
            ("TasksMax", Value::U64(INFINITY)),
        ],
    );
}

#[test]
fn limits_of_v1_have_older_ones() {
    check(
        r#"{"memory": {"limit": -1}, "pids": {"limit": 5}, "cpu": {"shares": 7}, "blockIO": {"weight": 20}}"#,
        Version::V1,
        252,
        &[
            ("MemoryLimit", Value::U64(INFINITY)),
            ("CPUShares", Value::U64(7)),
            ("BlockIOWeight", Value::U64(20)),
            ("TasksMax", Value::U64(5)),
        ],
    );
}

#[test]
fn an_older_systemd_is_not_asked_for_what_it_does_not_know() {
    let resources = r#"{"cpu": {"shares": 1024, "idle": 1, "quota": -1, "period": 5000, "cpus": "0"}}"#;
    check(
        resources,
        Version::V2,
        241,
        &[
            ("CPUWeight", Value::U64(100)),
            ("CPUQuotaPerSecUSec", Value::U64(INFINITY)),
        ],
    );
    check(
        resources,
        Version::V2,
        252,
        &[
            ("CPUWeight", Value::U64(0)),
            ("CPUQuotaPeriodUSec", Value::U64(5000)),
            ("CPUQuotaPerSecUSec", Value::U64(INFINITY)),
            ("AllowedCPUs", Value::bytes(&[1])),
        ],
    );
}

#[test]
fn unified_files_override_other_fields() {
    check(
        r#"{"memory": {"limit": 100}, "unified": {"memory.max": "max", "memory.high": "7", "pids.max": " 9 ",
            "cpu.max": "max 5000", "cpu.idle": "1", "cpu.weight": "50", "cpuset.cpus": "1", "memory.oom.group": "1"}}"#,
        Version::V2,
        252,
        &[
            ("CPUWeight", Value::U64(0)),
            ("CPUQuotaPeriodUSec", Value::U64(5000)),
            ("CPUQuotaPerSecUSec", Value::U64(INFINITY)),
            ("AllowedCPUs", Value::bytes(&[2])),
            ("MemoryHigh", Value::U64(7)),
            ("MemoryMax", Value::U64(INFINITY)),
            ("TasksMax", Value::U64(9)),
        ],
    );
}

#[test]
fn values_that_are_no_numbers_are_refused() {
    for resources in [
        r#"{"unified": {"memory.max": "much"}}"#,
        r#"{"unified": {"cpu.max": ""}}"#,
        r#"{"unified": {"cpuset.cpus": "a-b"}}"#,
        r#"{"cpu": {"cpus": "5-1"}}"#,
        r#"{"memory": {"swap": 5}}"#,
    ] {
        let resources = serde_json::from_str(resources).unwrap();
        assert!(of(&resources, Version::V2, 252, false).is_err());
    }
}

#[test]
fn a_quota_is_rounded_up_to_whole_per_cents() {
    assert_eq!(rounded_quota(5000, Some(100_000)), 5000);
    assert_eq!(rounded_quota(5001, Some(100_000)), 6000);
    assert_eq!(rounded_quota(333, Some(1000)), 340);
    assert_eq!(rounded_quota(-1, Some(1000)), -1);
    assert_eq!(rounded_quota(5001, None), 6000);
    assert_eq!(rounded_quota(i64::MAX, Some(1)), i64::MAX);
}
