//! Limits: written, enforced, changed, refused, and read back.

use std::fs;

use davit_cgroup::{Cgroup, CgroupError, Manager, Version};

use crate::trial::{Trial, plan, wait_until};

#[test]
fn limits_arrive_in_the_kernel() {
    let resources = r#"{"memory": {"limit": 67108864}, "cpu": {"shares": 1024, "quota": 50000, "period": 100000},
        "pids": {"limit": 17}, "devices": [{"allow": false, "access": "rwm"}]}"#;
    let Some(trial) = Trial::new("limits", resources) else {
        return;
    };
    assert_eq!(trial.file("memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    assert_eq!(trial.file("pids", "pids.max", "pids.max"), "17");
    match trial.cgroup.version() {
        Version::V1 => {
            assert_eq!(trial.file("cpu", "cpu.shares", ""), "1024");
            assert_eq!(trial.file("cpu", "cpu.cfs_quota_us", ""), "50000");
            assert_eq!(trial.file("cpu", "cpu.cfs_period_us", ""), "100000");
        }
        Version::V2 => {
            assert_eq!(trial.file("", "", "cpu.weight"), "100");
            assert_eq!(trial.file("", "", "cpu.max"), "50000 100000");
        }
    }
}

#[test]
fn a_cpuset_binds_its_processes() {
    let Some(mut trial) = Trial::new("cpuset", r#"{"cpu": {"cpus": "0", "mems": "0"}}"#) else {
        return;
    };
    let pid = trial.shell("exec sleep 100");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
    assert_eq!(trial.cgroup.stats().unwrap().cpuset.cpus, [0]);
}

#[test]
fn a_quota_slows_down() {
    let Some(mut trial) = Trial::new("quota", r#"{"cpu": {"quota": 2000, "period": 20000}}"#) else {
        return;
    };
    trial.shell("while :; do :; done");
    wait_until("it is throttled", || {
        trial.cgroup.stats().unwrap().cpu.throttling.throttled_periods > 1
    });
}

#[test]
fn a_burst_follows_the_quota_up_and_down() {
    let Some(mut trial) = Trial::new(
        "burst",
        r#"{"cpu": {"quota": 50000, "period": 100000, "burst": 40000}}"#,
    ) else {
        return;
    };
    for (quota, burst) in [(80000, 70000), (20000, 10000), (90000, 0)] {
        let resources = format!(r#"{{"cpu": {{"quota": {quota}, "burst": {burst}}}}}"#);
        let cgroup = Cgroup::again(&Manager::Cgroupfs, &trial.cgroup.paths()).unwrap();
        trial.cgroup = cgroup
            .with_resources(&serde_json::from_str(&resources).unwrap())
            .unwrap();
        trial.cgroup.update().unwrap();
        assert_eq!(
            trial.file("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
            burst.to_string()
        );
    }
}

#[test]
fn a_value_that_the_kernel_refuses_is_named_with_its_file() {
    let path = format!("/davit-test-{}-refusal", std::process::id());
    let resources = r#"{"cpu": {"cpus": "4000"}}"#;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(mut cgroup) = plan(&path, resources) else {
        return;
    };
    cgroup.create().unwrap();
    let text = cgroup.apply().unwrap_err().to_string();
    cgroup.destroy().unwrap();
    assert!(text.contains("4000") && text.contains("cpuset.cpus"), "{text}");
}

/// On v2: what becomes of a container below a cgroup that has a process of its own.
#[test]
fn below_a_cgroup_with_processes_only_thread_aware_limits_work() {
    let Some(mut trial) = Trial::new("populated", "{}") else {
        return;
    };
    if trial.cgroup.version() == Version::V1 {
        return;
    }
    trial.shell("exec sleep 100");
    let below = |name: &str, resources: &str| {
        let path = format!("/davit-test-{}-populated/{name}", std::process::id());
        plan(&path, resources).unwrap()
    };
    let mut memory = below("memory", r#"{"memory": {"limit": 67108864}}"#);
    let text = memory.create().and_then(|()| memory.apply()).unwrap_err().to_string();
    memory.destroy().unwrap();
    assert!(text.contains("memory") || text.contains("domain"), "{text}");

    let mut pids = below("pids", r#"{"pids": {"limit": 5}}"#);
    pids.create().unwrap();
    pids.apply().unwrap();
    assert_eq!(
        fs::read_to_string(pids.paths()[""].join("pids.max")).unwrap().trim(),
        "5"
    );
    let mut memory = below("late", r#"{"memory": {"limit": 67108864}}"#);
    assert!(matches!(memory.create(), Err(CgroupError::Threaded { .. })));
    assert!(!memory.exists());
    pids.destroy().unwrap();
}

/// On v2: files that no other field of the specification reaches.
#[test]
fn unified_files_are_written_and_a_missing_controller_is_named() {
    let Some(version) = plan("/davit-test-probe", "{}").ok().map(|cgroup| cgroup.version()) else {
        return;
    };
    if version == Version::V1 {
        return;
    }
    let Some(trial) = Trial::new(
        "unified",
        r#"{"unified": {"memory.high": "33554432 ", "memory.oom.group": "1"}}"#,
    ) else {
        return;
    };
    assert_eq!(trial.file("", "", "memory.high"), "33554432");
    assert_eq!(trial.file("", "", "memory.oom.group"), "1");
    let resources = serde_json::from_str(r#"{"unified": {"hardly.max": "1"}}"#).unwrap();
    let cgroup = Cgroup::again(&Manager::Cgroupfs, &trial.cgroup.paths())
        .unwrap()
        .with_resources(&resources)
        .unwrap();
    let text = cgroup.update().unwrap_err().to_string();
    assert!(text.contains("hardly.max") && text.contains("not available"), "{text}");
}

#[test]
fn memory_and_swap_limits_can_grow_and_shrink() {
    let Some(mut trial) = Trial::new("grow", r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#) else {
        return;
    };
    for megabytes in [128u64, 16, 64] {
        let bytes = megabytes << 20;
        let resources = format!(r#"{{"memory": {{"limit": {bytes}, "swap": {}}}}}"#, bytes * 2);
        let cgroup = Cgroup::again(&Manager::Cgroupfs, &trial.cgroup.paths()).unwrap();
        trial.cgroup = cgroup
            .with_resources(&serde_json::from_str(&resources).unwrap())
            .unwrap();
        trial.cgroup.update().unwrap();
        assert_eq!(
            trial.file("memory", "memory.limit_in_bytes", "memory.max"),
            bytes.to_string()
        );
    }
}

/// Every limit that depends on another one goes up and down, so that some must be written back after others.
#[test]
fn what_an_update_has_changed_can_be_put_back_in_any_order() {
    let [low, high] = [(1, 1), (2, 4)].map(|(memory, cpu)| {
        format!(
            r#"{{"memory": {{"limit": {}, "swap": {}, "reservation": {}}}, "pids": {{"limit": {memory}00}},
            "cpu": {{"quota": {cpu}0000, "period": {memory}00000, "burst": {cpu}000, "shares": {cpu}00, "cpus": "0"}}}}"#,
            memory << 25,
            memory << 26,
            memory << 24
        )
    });
    for (first, second) in [(&low, &high), (&high, &low)] {
        let Some(mut trial) = Trial::new("back", first) else {
            return;
        };
        let seen = |trial: &Trial| {
            [
                ("memory", "memory.limit_in_bytes", "memory.max"),
                ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
                ("memory", "memory.soft_limit_in_bytes", "memory.low"),
                ("pids", "pids.max", "pids.max"),
                ("cpu", "cpu.cfs_quota_us", "cpu.max"),
                ("cpu", "cpu.cfs_period_us", "cpu.max"),
                ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
                ("cpu", "cpu.shares", "cpu.weight"),
                ("cpuset", "cpuset.cpus", "cpuset.cpus"),
            ]
            .map(|(controller, v1, v2)| trial.file(controller, v1, v2))
        };
        let before = seen(&trial);
        let cgroup = Cgroup::again(&Manager::Cgroupfs, &trial.cgroup.paths()).unwrap();
        trial.cgroup = cgroup.with_resources(&serde_json::from_str(second).unwrap()).unwrap();
        let backup = trial.cgroup.backup().unwrap();
        trial.cgroup.update().unwrap();
        let changed = seen(&trial)
            .iter()
            .zip(&before)
            .filter(|(now, before)| now != before)
            .count();
        assert_eq!(changed, before.len() - 1, "all but the cpuset");
        trial.cgroup.put_back(&backup).unwrap();
        assert_eq!(seen(&trial), before);
    }
}

/// On v1: v2 has neither.
#[test]
fn swappiness_and_the_oom_killer_can_be_changed_both_ways_and_put_back() {
    let Some(mut trial) = Trial::new("switch", r#"{"memory": {"swappiness": 30, "disableOOMKiller": false}}"#) else {
        return;
    };
    if trial.cgroup.version() == Version::V2 {
        return;
    }
    let seen = |trial: &Trial| {
        let control = trial.file("memory", "memory.oom_control", "");
        (
            trial.file("memory", "memory.swappiness", ""),
            control.lines().next().unwrap().to_owned(),
        )
    };
    let expected = |swappiness: &str, disabled: u8| (swappiness.to_owned(), format!("oom_kill_disable {disabled}"));
    assert_eq!(seen(&trial), expected("30", 0));
    for (swappiness, disabled) in [(40, true), (50, false), (60, true)] {
        let resources = format!(r#"{{"memory": {{"swappiness": {swappiness}, "disableOOMKiller": {disabled}}}}}"#);
        trial.cgroup = trial
            .cgroup
            .clone()
            .with_resources(&serde_json::from_str(&resources).unwrap())
            .unwrap();
        let (before, backup) = (seen(&trial), trial.cgroup.backup().unwrap());
        trial.cgroup.update().unwrap();
        assert_eq!(seen(&trial), expected(&swappiness.to_string(), disabled.into()));
        trial.cgroup.put_back(&backup).unwrap();
        assert_eq!(seen(&trial), before);
        trial.cgroup.update().unwrap();
    }
}

#[test]
fn memory_beyond_the_limit_kills() {
    let resources = r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#;
    let Some(mut trial) = Trial::new("oom", resources) else {
        return;
    };
    let (ok, _) = trial.run("x=$(head -c 50000000 /dev/zero | tr '\\0' x); echo ${#x}");
    let killed = match trial.cgroup.version() {
        Version::V1 => trial.file("memory", "memory.oom_control", ""),
        Version::V2 => trial.file("", "", "memory.events"),
    };
    assert!(
        killed.contains("oom_kill ") && !killed.contains("oom_kill 0"),
        "{ok} {killed}"
    );
}

#[test]
fn a_fork_beyond_the_limit_fails() {
    let Some(mut trial) = Trial::new("pids", r#"{"pids": {"limit": 4}}"#) else {
        return;
    };
    let (_, err) = trial.run("for i in 1 2 3 4 5 6; do sleep 1 & done; wait");
    assert!(err.contains("ork"), "{err}");
}

#[test]
fn limits_without_a_controller_are_refused_before_anything_is_made() {
    let path = format!("/davit-test-{}-refused", std::process::id());
    let plan = |resources: &str| plan(&path, resources);
    let Some(version) = plan("{}").ok().map(|cgroup| cgroup.version()) else {
        return;
    };
    let result = match version {
        Version::V1 => plan(r#"{"unified": {"memory.high": "1"}}"#),
        Version::V2 => plan(r#"{"unified": {"../cgroup.procs": "1"}}"#),
    };
    let text = result.unwrap_err().to_string();
    assert!(text.contains("unified"), "{text}");
}

#[test]
fn stats_count_what_runs() {
    let Some(mut trial) = Trial::new("stats", r#"{"pids": {"limit": 9}, "memory": {"limit": 67108864}}"#) else {
        return;
    };
    trial.shell("x=$(head -c 4000000 /dev/zero | tr '\\0' x); echo ready; sleep 100");
    wait_until("its memory and its time are counted", || {
        let stats = trial.cgroup.stats().unwrap();
        stats.cpu.usage.total > 0 && stats.memory.usage.usage > 3_000_000 && stats.pids.current <= 2
    });
    let stats = trial.cgroup.stats().unwrap();
    assert_eq!(stats.pids.limit, 9);
    assert!((1..=2).contains(&stats.pids.current), "{:?}", stats.pids);
    assert_eq!(stats.memory.usage.limit, 67108864);
    assert!(stats.memory.usage.usage > 0 && !stats.memory.raw.is_empty());
    assert!(!stats.cpuset.cpus.is_empty());
}
