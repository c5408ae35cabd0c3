//! Limits in the kernel's files: of a new container, and after each kind of update.

use std::{fs, path::Path, process::Command};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use crate::{
    bundle::Bundle,
    shell_words,
    update::{control_file, v2_alone},
    user_namespaces,
};

fn sleeping(change: impl FnOnce(&mut Value)) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        change(config);
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
    bundle
}

fn with(resources: Value) -> Bundle {
    sleeping(|config| config["linux"]["resources"] = resources)
}

fn update(bundle: &Bundle, flags: &[&str]) {
    bundle.runtime(&[&["update"], flags, &[bundle.id()]].concat()).ok();
}

fn update_from_file(bundle: &Bundle, wanted: &Value) -> davit_integration_tests::Finished {
    let file = bundle.file("resources.json");
    fs::write(&file, wanted.to_string()).expect("the bundle is ours");
    bundle.runtime(&["update", "--resources", &file, bundle.id()])
}

/// A flag of `update` with its value, and the files of v1 (after their controller) and of v2 that say so afterwards.
type Effect = (
    &'static [&'static str],
    (&'static str, &'static str, &'static str),
    (&'static str, &'static str),
);

#[test]
fn each_flag_of_update_reaches_the_kernel() {
    let effects: [Effect; 15] = [
        (
            &["--cpu-share", "2048"],
            ("cpu", "cpu.shares", "2048"),
            ("cpu.weight", "174"),
        ),
        (
            &["--cpu-period", "50000"],
            ("cpu", "cpu.cfs_period_us", "50000"),
            ("cpu.max", "max 50000"),
        ),
        (
            &["--cpu-quota", "20000"],
            ("cpu", "cpu.cfs_quota_us", "20000"),
            ("cpu.max", "20000 50000"),
        ),
        (
            &["--cpu-burst", "10000"],
            ("cpu", "cpu.cfs_burst_us", "10000"),
            ("cpu.max.burst", "10000"),
        ),
        (&["--cpu-idle", "1"], ("cpu", "cpu.idle", "1"), ("cpu.idle", "1")),
        (
            &["--cpu-idle", "0", "--cpu-share", "512"],
            ("cpu", "cpu.shares", "512"),
            ("cpu.weight", "59"),
        ),
        (
            &["--cpuset-cpus", "0"],
            ("cpuset", "cpuset.cpus", "0"),
            ("cpuset.cpus", "0"),
        ),
        (
            &["--cpuset-mems", "0"],
            ("cpuset", "cpuset.mems", "0"),
            ("cpuset.mems", "0"),
        ),
        (
            &["--memory", "64M"],
            ("memory", "memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        ),
        (
            &["--memory-swap", "96M"],
            ("memory", "memory.memsw.limit_in_bytes", "100663296"),
            ("memory.swap.max", "33554432"),
        ),
        (
            &["--memory-reservation", "32M"],
            ("memory", "memory.soft_limit_in_bytes", "33554432"),
            ("memory.low", "33554432"),
        ),
        (
            &["--memory", "-1"],
            ("memory", "memory.limit_in_bytes", "9223372036854771712"),
            ("memory.max", "max"),
        ),
        (&["--pids-limit", "44"], ("pids", "pids.max", "44"), ("pids.max", "44")),
        (
            &["--pids-limit", "-1"],
            ("pids", "pids.max", "max"),
            ("pids.max", "max"),
        ),
        // A disk's scheduler gives the file its name, and this one weighs everywhere.
        (
            &["--blkio-weight", "300"],
            ("blkio", "blkio.bfq.weight", "300"),
            ("io.weight", "default 2930"),
        ),
    ];
    let bundle = with(json!({}));
    for (flags, (controller, v1, on_v1), (v2, on_v2)) in effects {
        let folder = match v2_alone() {
            true => Path::new("/sys/fs/cgroup/davit-tests").join(bundle.id()),
            false => Path::new("/sys/fs/cgroup")
                .join(controller)
                .join("davit-tests")
                .join(bundle.id()),
        };
        // Where the BFQ scheduler weighs, it takes the weight as it is.
        let (v2, on_v2) = match v2 == "io.weight" && folder.join("io.bfq.weight").exists() {
            true => ("io.bfq.weight", "default 300"),
            false => (v2, on_v2),
        };
        let file = if v2_alone() { v2 } else { v1 };
        if !folder.join(file).exists() {
            davit_integration_tests::skipped!("this kernel has no {file} for {flags:?}");
            continue;
        }
        update(&bundle, flags);
        let expected = if v2_alone() { on_v2 } else { on_v1 };
        assert_eq!(control_file(&bundle, controller, v1, v2), expected, "{flags:?}");
    }
}

#[test]
fn a_hook_of_its_creation_may_update_a_container() {
    let bundle = Bundle::new();
    let line = shell_words(&bundle.command(&["update", "--pids-limit", "33", bundle.id()]));
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", line]}]);
    });
    bundle.create_as(bundle.id()).ok();
    assert_eq!(control_file(&bundle, "pids", "pids.max", "pids.max"), "33");
}

/// The files of a real-time budget; `None` where there are none: on v2, and without RT_GROUP_SCHED.
///
/// The container's cgroup lies below the hierarchy's root, for a budget is a part of the parent's.
fn budget(bundle: &Bundle) -> Option<impl Fn() -> [String; 2]> {
    let root = Path::new("/sys/fs/cgroup/cpu");
    if !root.join("cpu.rt_runtime_us").exists() {
        davit_integration_tests::skipped!("this kernel has no cpu.rt_runtime_us");
        return None;
    }
    let folder = root.join(bundle.id());
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id())));
    Some(move || {
        ["cpu.rt_runtime_us", "cpu.rt_period_us"].map(|file| {
            let text = fs::read_to_string(folder.join(file)).expect("the container has a budget");
            text.trim().to_owned()
        })
    })
}

#[test]
fn a_real_time_budget_is_changed_by_update() {
    let bundle = Bundle::new();
    let Some(budget) = budget(&bundle) else { return };
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle.create_as(bundle.id()).ok();
    assert_eq!(budget(), ["0", "1000000"]);
    update(&bundle, &["--cpu-rt-period", "500000"]);
    assert_eq!(budget(), ["0", "500000"]);
    update(&bundle, &["--cpu-rt-runtime", "2000"]);
    assert_eq!(budget(), ["2000", "500000"]);
    // The runtime is longer than the old period, and comes after the new one.
    update(&bundle, &["--cpu-rt-runtime", "4000", "--cpu-rt-period", "1000000"]);
    assert_eq!(budget(), ["4000", "1000000"]);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_real_time_process_enters_a_cgroup_with_a_budget() {
    let bundle = Bundle::new();
    let Some(_) = budget(&bundle) else { return };
    bundle.edit(|config| {
        config["process"]["args"] = json!(["awk", "{ print $41 }", "/proc/self/stat"]);
        config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 3000, "realtimePeriod": 300_000});
    });
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let run = crate::shell_words(&run);
    let run = |prefix: &str| {
        let script = format!("echo 0 > /sys/fs/cgroup/cpu/tasks; {prefix} {run}");
        Command::new("sh").args(["-ec", &script]).finish()
    };
    assert_eq!(run("").ok(), "0");
    // SCHED_FIFO, inherited by the container's first process.
    assert_eq!(run("chrt -f 1").ok(), "1");
    bundle.edit(|config| config["linux"]["resources"]["cpu"] = json!({}));
    // Without a budget the kernel lets no such process in, which shows that the budget was there before.
    run("chrt -f 1").code_is(1).says("/cpu/");
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_where_that_is_asked_for() {
    let bundle = with(json!({"memory": {"limit": 67_108_864}}));
    let limit = || control_file(&bundle, "memory", "memory.limit_in_bytes", "memory.max");
    update_from_file(&bundle, &json!({"memory": {"limit": 4096, "checkBeforeUpdate": true}}))
        .code_is(1)
        .says("rejecting memory limit 4096 <= usage ");
    assert_eq!(limit(), "67108864");
    if !v2_alone() {
        update_from_file(
            &bundle,
            &json!({"memory": {"swap": 4096, "limit": 33_554_432, "checkBeforeUpdate": true}}),
        )
        .code_is(1)
        .says("rejecting memory+swap limit 4096 <= usage ");
        assert_eq!(limit(), "67108864");
    }
    update_from_file(
        &bundle,
        &json!({"memory": {"limit": 33_554_432, "checkBeforeUpdate": true}}),
    )
    .ok();
    assert_eq!(limit(), "33554432");
}

/// A disk of a file, which the BFQ scheduler serves: weights of devices exist under no other.
struct Disk(String);

impl Disk {
    fn new(bundle: &Bundle) -> Option<Self> {
        let file = bundle.file("disk");
        fs::File::create(&file)
            .and_then(|file| file.set_len(1 << 20))
            .expect("the bundle is ours");
        let found = Command::new("losetup").args(["--find", "--show", &file]).finish();
        if found.code != 0 {
            davit_integration_tests::skipped!("no loop device: {}", found.stderr);
            return None;
        }
        let name = found.ok().trim_start_matches("/dev/").to_owned();
        let disk = Disk(name);
        match fs::write(format!("/sys/block/{}/queue/scheduler", disk.0), "bfq") {
            Ok(()) => Some(disk),
            Err(err) => {
                davit_integration_tests::skipped!("no BFQ scheduler: {err}");
                None
            }
        }
    }

    fn numbers(&self) -> [u64; 2] {
        let text = fs::read_to_string(format!("/sys/block/{}/dev", self.0)).expect("the device is there");
        let (major, minor) = text.trim().split_once(':').expect("major:minor");
        [major, minor].map(|number| number.parse().expect("a number"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::write(format!("/sys/block/{}/queue/scheduler", self.0), "none");
        Command::new("losetup")
            .args(["--detach", &format!("/dev/{}", self.0)])
            .finish();
    }
}

/// Not even the runtime's own side of the container fits in.
#[test]
fn a_container_that_is_killed_before_it_begins_names_the_limit_as_the_cause() {
    let words = "container init was OOM-killed (memory limit too low?)";
    let plain = Bundle::new();
    let mapped = Bundle::new();
    user_namespaces::map_ids(&mapped);
    for bundle in [&plain, &mapped] {
        bundle.edit(|config| config["linux"]["resources"]["memory"]["limit"] = json!(4096));
        bundle.run(&["true"]).code_is(1).says(words);
        bundle.create_as(bundle.id()).code_is(1).says(words);
        assert_eq!(bundle.ids(), Vec::<String>::new());
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    }
}

#[test]
fn block_devices_have_weights_and_throttles() {
    let bundle = Bundle::new();
    let Some(disk) = Disk::new(&bundle) else { return };
    let [major, minor] = disk.numbers();
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let weight = |weight: u64| json!([{"major": major, "minor": minor, "weight": weight}]);
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"]["blockIO"] = json!({
            "weight": 200, "weightDevice": weight(300), "throttleReadBpsDevice": rate(1_048_576),
            "throttleWriteBpsDevice": rate(2_097_152), "throttleReadIOPSDevice": rate(30),
            "throttleWriteIOPSDevice": rate(40)});
    });
    bundle.create_as(bundle.id()).ok();
    let seen = |v1: &str, v2: &str| {
        let text = control_file(&bundle, "blkio", v1, v2);
        let own = format!("{major}:{minor} ");
        text.lines().find_map(|line| line.strip_prefix(&own)).map(str::to_owned)
    };
    let check = |weight: u64, rates: [u64; 4]| {
        let shown = seen("blkio.bfq.weight_device", "io.bfq.weight");
        assert_eq!(shown, Some(weight.to_string()));
        if v2_alone() {
            let [rbps, wbps, riops, wiops] = rates;
            let line = format!("rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}");
            assert_eq!(seen("", "io.max"), Some(line));
            return;
        }
        let kinds = ["read_bps", "write_bps", "read_iops", "write_iops"];
        for (kind, rate) in kinds.into_iter().zip(rates) {
            let shown = seen(&format!("blkio.throttle.{kind}_device"), "");
            assert_eq!(shown, Some(rate.to_string()), "{kind}");
        }
    };
    check(300, [1_048_576, 2_097_152, 30, 40]);
    let wanted = json!({"blockIO": {"weightDevice": weight(400), "throttleReadBpsDevice": rate(3_145_728),
        "throttleWriteIOPSDevice": rate(50)}});
    update_from_file(&bundle, &wanted).ok();
    check(400, [3_145_728, 2_097_152, 30, 50]);
    // What cannot be written takes the rest along.
    let refused = json!({"blockIO": {"weightDevice": weight(500), "throttleReadBpsDevice": rate(1),
        "throttleWriteBpsDevice": [{"major": 0, "minor": 0, "rate": 1}]}});
    update_from_file(&bundle, &refused).code_is(1);
    check(400, [3_145_728, 2_097_152, 30, 50]);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn the_first_process_is_in_every_hierarchy() {
    let bundle = with(json!({}));
    let pid = bundle.state()["pid"].to_string();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let own = format!("/davit-tests/{}", bundle.id());
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    let is_mounted = |controllers: &str| match controllers {
        "" => mounts.lines().any(|line| line.contains(" cgroup2 ")),
        names => mounts
            .lines()
            .any(|line| line.contains(" cgroup ") && line.contains(&format!(",{names} "))),
    };
    let mut entered = Vec::new();
    for line in text.lines() {
        let (controllers, path) = line
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once(':'))
            .expect("ID:CONTROLLERS:PATH");
        if is_mounted(controllers) {
            assert_eq!(path, own, "{line}");
            entered.push(controllers);
        }
    }
    // On a hybrid machine also those that limit nothing.
    let expected: &[&str] = if v2_alone() {
        &[""]
    } else {
        &["", "name=systemd", "memory"]
    };
    for name in expected {
        if is_mounted(name) {
            assert!(entered.contains(name), "{name}: {text}");
        } else {
            davit_integration_tests::skipped!("{name:?} is not mounted");
        }
    }
    assert!(!entered.is_empty());
}
