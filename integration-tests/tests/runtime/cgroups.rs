//! Who makes a container's cgroup, and what is in it.

use std::{fs, path::Path, process::Command};

use davit_integration_tests::Run;
use serde_json::json;

use crate::{
    bundle::{Bundle, without_namespace},
    update::{control_file, v2_alone},
};

#[test]
fn names_of_limits_may_be_in_any_case() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"] = json!({"CPU": {"Cpus": "0", "MEMS": "0"}, "Pids": {"limit": 9}});
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
    assert_eq!(control_file(&bundle, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(control_file(&bundle, "pids", "pids.max", "pids.max"), "9");
}

#[test]
fn without_a_manager_a_container_stays_in_its_makers_cgroup() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"] = json!({"pids": {"limit": 9}});
        without_namespace(config, "cgroup");
    });
    let path = bundle.path();
    let id = bundle.id();
    bundle
        .runtime(&["--cgroup-manager", "disabled", "run", "--detach", "--bundle", &path, id])
        .ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
    let pid = bundle.state()["pid"].to_string();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the process is there");
    assert_eq!(of(&pid), of("self"));
    for command in [
        &["pause", id][..],
        &["ps", id],
        &["events", "--stats", id],
        &["update", "--pids-limit", "5", id],
    ] {
        bundle.runtime(command).code_is(1).says("no cgroup of its own");
    }
    bundle.runtime(&["exec", id, "true"]).ok();
    bundle.runtime(&["delete", "--force", id]).ok();
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

/// As runc does, without a word: one config is for v1 and v2.
#[test]
fn limits_that_the_machine_does_not_have_are_warned_of() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"]["memory"] = json!({"kernel": 1, "kernelTCP": 1});
        if v2_alone() {
            config["linux"]["resources"]["memory"]["disableOOMKiller"] = json!(true);
            config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000, "realtimePeriod": 10000});
            config["linux"]["resources"]["network"] =
                json!({"classID": 5, "priorities": [{"name": "lo", "priority": 1}]});
        }
    });
    let said = bundle.create_as(bundle.id()).code_is(0).stderr;
    let count = |text: &str| said.matches(text).count();
    assert_eq!(
        count("Kernel memory settings are ignored and will be removed"),
        1,
        "{said}"
    );
    assert_eq!(said.lines().count(), if v2_alone() { 6 } else { 1 }, "{said}");
    if v2_alone() {
        for limit in [
            "memory.disableOOMKiller",
            "cpu.realtimeRuntime",
            "cpu.realtimePeriod",
            "network.classID",
            "network.priorities",
        ] {
            assert_eq!(
                count(&format!("limit {limit} does not exist on cgroup v2")),
                1,
                "{said}"
            );
        }
        bundle
            .runtime(&["update", "--cpu-rt-runtime", "2000", bundle.id()])
            .code_is(0)
            .says("cpu.realtimeRuntime does not exist on cgroup v2");
    }
    bundle
        .runtime(&["update", "--pids-limit", "20", bundle.id()])
        .code_is(0);
}

#[test]
fn without_a_manager_a_container_runs_where_no_cgroups_are_mounted() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    let [id, path] = [bundle.id(), &bundle.path()];
    let line = |args: &[&str]| {
        let args = [&["--cgroup-manager", "disabled"], args].concat();
        crate::shell_words(&bundle.command(&args))
    };
    let script = format!(
        "while umount -R /sys/fs/cgroup 2>/dev/null; do :; done
         ! grep -E ' cgroup2? ' /proc/mounts
         {} </dev/null >/dev/null
         {}
         {}",
        line(&["run", "--detach", "--bundle", path, id]),
        line(&["exec", id, "ls", "/sys/fs/cgroup"]),
        line(&["delete", "--force", id]),
    );
    let finished = Command::new("unshare").args(["-m", "sh", "-ec", &script]).finish();
    assert_eq!(finished.ok(), "");
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn on_v1_a_container_sees_a_mount_for_each_hierarchy_and_in_it_its_own_cgroup() {
    if v2_alone() {
        davit_integration_tests::skipped!("cgroups are v2 alone here");
        return;
    }
    let bundle = Bundle::new();
    bundle.edit(|config| without_namespace(config, "cgroup"));
    let hosts = mounts_below_sys_fs_cgroup(&fs::read_to_string("/proc/mounts").expect("/proc is mounted"));
    let v1 = |mounts: &[[String; 3]]| -> Vec<String> {
        let v1 = mounts.iter().filter(|mount| mount[1] == "cgroup");
        v1.map(|mount| mount[0].clone()).collect()
    };
    for with_namespace in [false, true] {
        if with_namespace {
            bundle.edit(|config| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
                namespaces.push(json!({"type": "cgroup"}));
            });
        }
        let inside = mounts_below_sys_fs_cgroup(&bundle.run(&["cat", "/proc/mounts"]).ok());
        assert_eq!(inside[0][..2], ["/sys/fs/cgroup", "tmpfs"].map(str::to_owned));
        assert_eq!(v1(&inside), v1(&hosts));
        for [place, _, options] in &inside[1..] {
            assert!(options.starts_with("ro,"), "{place} {options}");
        }
        // Of the host's cgroups it sees its own alone, with itself in it.
        let script = "for dir in /sys/fs/cgroup/*/; do ls -d $dir*/ 2>/dev/null; done; cat /sys/fs/cgroup/memory/tasks";
        assert_eq!(bundle.run(&["sh", "-c", script]).stdout, "1\n", "{with_namespace}");
    }
}

/// Place, file system and options of each.
fn mounts_below_sys_fs_cgroup(table: &str) -> Vec<[String; 3]> {
    let fields = |line: &str| -> Option<[String; 3]> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        words.get(1..4)?.to_vec().try_into().ok()
    };
    let mounts = table.lines().filter_map(fields);
    mounts.filter(|mount| mount[0].starts_with("/sys/fs/cgroup")).collect()
}

#[test]
fn systemd_is_not_asked_where_it_does_not_run() {
    if Path::new("/run/systemd/system").exists() {
        davit_integration_tests::skipped!("systemd runs on this machine");
        return;
    }
    let bundle = Bundle::new();
    let path = bundle.path();
    for flag in [&["--systemd-cgroup"][..], &["--cgroup-manager", "systemd"]] {
        let command = [flag, &["run", "--bundle", &path, bundle.id()]].concat();
        bundle
            .runtime(&command)
            .code_is(1)
            .says("systemd support for managing cgroups is not available");
    }
    assert_eq!(bundle.ids(), Vec::<String>::new());
    bundle.edit(|config| config["linux"]["cgroupsPath"] = json!("system.slice:davit:x"));
    bundle.run_as_is().code_is(1).says("--systemd-cgroup");
}

#[test]
fn unified_files_are_refused_where_v1_has_the_limits() {
    if v2_alone() {
        davit_integration_tests::skipped!("this machine has no v1 hierarchies");
        return;
    }
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["resources"]["unified"] = json!({"memory.high": "1000000"}));
    bundle.run_as_is().code_is(1).says("unified");
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_device_rule_names_what_may_be_done_or_is_refused() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwa"}]});
    });
    bundle.run(&["true"]).code_is(0);
    bundle.edit(|config| config["linux"]["resources"] = json!({"devices": [{"allow": false}]}));
    bundle
        .run_as_is()
        .code_is(1)
        .says("device access at 0 field cannot be empty");
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

/// A new mount of cgroup2 in the machine's own cgroup namespace would take them away from everybody (runc #5258).
#[test]
fn a_container_in_the_machines_cgroup_namespace_leaves_the_hierarchys_options_alone() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["cat", "/proc/mounts"]);
        without_namespace(config, "cgroup");
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/second", "type": "cgroup2", "source": "cgroup2", "options": ["ro"]}));
    });
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let options = "awk '$2 == \"/sys/fs/cgroup\" { last = $4 } END { print last }' /proc/mounts";
    // An option without effect where memory is v1's, and for a moment only.
    let script = format!(
        "[ -f /sys/fs/cgroup/cgroup.controllers ] || mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup
         before=$({options})
         trap 'mount --options-mode ignore -o remount,$before /sys/fs/cgroup' EXIT
         mount -o remount,memory_localevents /sys/fs/cgroup; {options}
         {}
         {options}",
        crate::shell_words(&run)
    );
    // Whoever else mounts cgroup2 on this machine meanwhile takes the option away; the runtime would each time.
    let mut attempts = (0..3).map(|_| Command::new("unshare").args(["-m", "sh", "-ec", &script]).finish().ok());
    let is_kept = |output: &String| output.lines().next() == output.lines().last();
    let output = attempts.find(is_kept).expect("the option is kept");
    let is_set = |line: &str| line.split([',', ' ']).any(|option| option == "memory_localevents");
    assert!(output.lines().next().is_some_and(is_set), "{output}");
    for place in ["/sys/fs/cgroup", "/second"] {
        let mut lines = output.lines();
        let seen = lines.find(|line| line.split(' ').nth(1) == Some(place));
        let seen = seen.expect("the container has it");
        assert!(seen.contains(" cgroup2 ro,") && is_set(seen), "{output}");
    }
}
