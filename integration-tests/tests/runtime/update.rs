//! `update`: limits that change while a container runs.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::json;

use crate::bundle::Bundle;

/// Whether v2 is the machine's only hierarchy.
pub fn v2_alone() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The file of a running bundle's cgroup: `v1` of `controller`, or `v2`.
pub fn control_file(bundle: &Bundle, controller: &str, v1: &str, v2: &str) -> String {
    let name = if v2_alone() { v2 } else { v1 };
    let path = match v2_alone() {
        true => PathBuf::from("/sys/fs/cgroup/davit-tests").join(bundle.id()),
        false => Path::new("/sys/fs/cgroup")
            .join(controller)
            .join("davit-tests")
            .join(bundle.id()),
    };
    let path = path.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

fn sleeping(resources: serde_json::Value) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"] = resources;
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
    bundle
}

fn quota_and_period(bundle: &Bundle) -> String {
    match v2_alone() {
        true => control_file(bundle, "", "", "cpu.max"),
        false => ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            .map(|name| control_file(bundle, "cpu", name, ""))
            .join(" "),
    }
}

fn memory(bundle: &Bundle) -> String {
    control_file(bundle, "memory", "memory.limit_in_bytes", "memory.max")
}

#[test]
fn updates_add_up() {
    let bundle = sleeping(json!({"cpu": {"quota": 50000, "period": 100000}, "memory": {"limit": 33554432}}));
    let update = |args: &[&str]| bundle.runtime(&[&["update"], args, &[bundle.id()]].concat()).ok();
    update(&["--cpu-period", "200000"]);
    assert_eq!(quota_and_period(&bundle), "50000 200000");
    update(&["--cpu-quota", "70000"]);
    assert_eq!(quota_and_period(&bundle), "70000 200000");
    update(&["--memory", "64M", "--cpuset-cpus", ""]);
    assert_eq!(memory(&bundle), "67108864");
    assert_eq!(quota_and_period(&bundle), "70000 200000");
    update(&["--pids-limit", "12"]);
    assert_eq!(control_file(&bundle, "pids", "pids.max", "pids.max"), "12");
    assert_eq!(memory(&bundle), "67108864");
}

#[test]
fn a_quota_is_not_forgotten_by_an_update_of_something_else() {
    let bundle = sleeping(json!({"cpu": {"quota": 50000, "period": 100000}}));
    let update = |args: &[&str]| bundle.runtime(&[&["update"], args, &[bundle.id()]].concat()).ok();
    update(&["--pids-limit", "50"]);
    update(&["--cpu-period", "50000"]);
    assert_eq!(quota_and_period(&bundle), "50000 50000");
    update(&["--memory", "64M"]);
    update(&["--cpu-quota", "20000"]);
    assert_eq!(quota_and_period(&bundle), "20000 50000");
}

#[test]
fn updates_at_once_all_count() {
    let bundle = sleeping(json!({}));
    let updates = [
        ["--cpu-share", "300"],
        ["--cpu-quota", "30000"],
        ["--memory", "64M"],
        ["--memory-reservation", "32M"],
    ];
    let running = updates.map(|flags| {
        let mut command = bundle.command(&["update", flags[0], flags[1], bundle.id()]);
        command.stderr(Stdio::piped()).spawn().expect("the runtime is built")
    });
    for update in running {
        let output = update.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    }
    let kept = fs::read(bundle.root().join(bundle.id()).join("resources.json")).expect("limits");
    let kept: serde_json::Value = serde_json::from_slice(&kept).expect("JSON");
    assert_eq!(
        (&kept["cpu"]["shares"], &kept["cpu"]["quota"]),
        (&json!(300), &json!(30000))
    );
    let memory = &kept["memory"];
    assert_eq!(
        (&memory["limit"], &memory["reservation"]),
        (&json!(64 << 20), &json!(32 << 20))
    );
}

/// runc drops them without a word.
#[test]
fn no_limit_of_a_file_is_dropped() {
    let bundle = sleeping(json!({}));
    let update = |wanted: serde_json::Value| {
        let file = bundle.file("resources.json");
        fs::write(&file, wanted.to_string()).expect("the bundle is ours");
        bundle.runtime(&["update", "--resources", &file, bundle.id()])
    };
    let pages = update(json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}));
    if v2_alone() {
        pages.ok();
        assert_eq!(control_file(&bundle, "", "", "hugetlb.2MB.max"), "4194304");
        update(json!({"network": {"classID": 5}}))
            .code_is(0)
            .says("network.classID");
        return;
    }
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    let is_mounted = |controller: &str| mounts.contains(&format!(" /sys/fs/cgroup/{controller} cgroup "));
    // Where there is a controller the crate's tests look at its files.
    for (controller, wanted, finished) in [
        ("hugetlb", json!(null), Some(pages)),
        ("net_cls", json!({"network": {"classID": 5}}), None),
        ("rdma", json!({"rdma": {"mlx4_0": {"hcaHandles": 2}}}), None),
    ] {
        if is_mounted(controller) {
            davit_integration_tests::skipped!("this machine has {controller}");
            continue;
        }
        let finished = finished.unwrap_or_else(|| update(wanted));
        finished.code_is(1).says(&format!("\\\"{controller}\\\""));
    }
    update(json!({"memory": {"swappiness": 33}})).ok();
    assert_eq!(control_file(&bundle, "memory", "memory.swappiness", ""), "33");
}

#[test]
fn limits_may_come_from_standard_input_with_names_in_any_case() {
    let bundle = sleeping(json!({}));
    let mut child = bundle
        .command(&["update", "--resources", "-", bundle.id()])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the runtime is built");
    let mut input = child.stdin.take().expect("it was asked for");
    input
        .write_all(br#"{"Memory": {"LIMIT": 50331648}, "pids": {"limit": 20}}"#)
        .expect("it reads");
    drop(input);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(memory(&bundle), "50331648");
}

#[test]
fn half_of_an_update_is_taken_back() {
    let bundle = sleeping(json!({"memory": {"limit": 33554432}}));
    // v1 refuses the shares, v2 the processor; both after the memory was set, or before.
    let update = [
        "update",
        "--memory",
        "64M",
        "--cpu-share",
        "99999999",
        "--cpuset-cpus",
        "4000",
    ];
    bundle.runtime(&[&update[..], &[bundle.id()]].concat()).code_is(1);
    bundle
        .runtime(&["update", "--memory", "64M", "--cpuset-cpus", "4000", bundle.id()])
        .code_is(1)
        .says("cpuset.cpus");
    assert_eq!(memory(&bundle), "33554432");
    bundle.runtime(&["update", "--pids-limit", "5", bundle.id()]).ok();
    assert_eq!(memory(&bundle), "33554432");
}

/// Also what no update has set before, and what somebody else has set since.
#[test]
fn an_update_that_is_refused_at_its_end_changes_nothing() {
    let bundle = sleeping(json!({"memory": {"limit": 33554432}, "pids": {"limit": 77}}));
    bundle.runtime(&["update", "--cpu-quota", "50000", bundle.id()]).ok();
    let seen = || {
        [
            ("pids", "pids.max", "pids.max"),
            ("cpuset", "cpuset.cpus", "cpuset.cpus"),
            ("cpuset", "cpuset.mems", "cpuset.mems"),
            ("memory", "memory.limit_in_bytes", "memory.max"),
            ("memory", "memory.soft_limit_in_bytes", "memory.low"),
            ("cpu", "cpu.cfs_quota_us", "cpu.max"),
            ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"),
            ("cpu", "cpu.shares", "cpu.weight"),
            ("cpu", "cpu.idle", "cpu.idle"),
        ]
        .map(|(controller, v1, v2)| control_file(&bundle, controller, v1, v2))
    };
    let before = seen();
    // Block I/O is the last that is written on v1, and the sets are on v2.
    let refused = match v2_alone() {
        true => ["--cpuset-cpus", "4000"],
        false => ["--blkio-weight", "60000"],
    };
    let mut update = vec![
        "update",
        "--pids-limit",
        "5",
        "--memory",
        "64M",
        "--memory-reservation",
        "32M",
    ];
    update.extend(["--cpu-quota", "80000", "--cpu-burst", "20000", "--cpuset-mems", "0"]);
    if !v2_alone() {
        update.extend(["--cpuset-cpus", "0"]);
    }
    for idle in [["--cpu-share", "200"], ["--cpu-idle", "1"]] {
        let update = [&update[..], &idle, &refused, &[bundle.id()]].concat();
        let said = bundle.runtime(&update).code_is(1).stderr;
        assert!(!said.contains("setting the limits back failed"), "{said}");
        assert_eq!(seen(), before);
    }
    bundle.runtime(&["update", "--cpu-period", "200000", bundle.id()]).ok();
    assert_eq!(quota_and_period(&bundle), "50000 200000");
}

#[test]
fn a_bad_value_is_named_with_its_flag() {
    let bundle = sleeping(json!({}));
    for (flag, value) in [
        ("--memory", "much"),
        ("--memory-swap", "-2"),
        ("--cpu-quota", "1.5"),
        ("--cpu-share", "-1"),
        ("--cpu-idle", "x"),
    ] {
        bundle
            .runtime(&["update", flag, value, bundle.id()])
            .code_is(1)
            .says(flag.trim_start_matches('-'))
            .says(value);
    }
    bundle
        .runtime(&["update", "--kernel-memory", "1m", bundle.id()])
        .code_is(0)
        .says("Kernel memory settings are ignored");
}

/// As in runc, which keeps the rules too, but does not say so.
#[test]
fn device_rules_are_left_alone_and_that_is_said() {
    let bundle = sleeping(json!({}));
    let file = bundle.file("resources.json");
    let wanted = json!({"devices": [{"allow": false, "access": "rwm"}], "memory": {"limit": 50331648}});
    fs::write(&file, wanted.to_string()).expect("the bundle is ours");
    bundle
        .runtime(&["update", "--resources", &file, bundle.id()])
        .code_is(0)
        .says("devices in --resources are ignored");
    assert_eq!(memory(&bundle), "50331648");
    bundle.runtime(&["exec", bundle.id(), "cat", "/dev/null"]).ok();
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_with_the_usage() {
    if v2_alone() {
        davit_integration_tests::skipped!("on v2 the kernel takes such a limit, and kills");
        return;
    }
    let bundle = sleeping(json!({"memory": {"limit": 67_108_864}}));
    let fill = "head -c 40000000 /dev/zero > /dev/shm/held";
    bundle.runtime(&["exec", bundle.id(), "sh", "-c", fill]).ok();
    bundle
        .runtime(&["update", "--memory", "8M", bundle.id()])
        .code_is(1)
        .says("current usage")
        .says("peak usage");
    assert_eq!(memory(&bundle), "67108864");
}
