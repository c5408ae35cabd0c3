//! The crate against the kernel it runs on. Needs root and a cgroup file system; skips itself elsewhere.
//!
//! Each test has a cgroup of its own, removed at its end, and processes of its own in it.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use davit_cgroup::{Cgroup, CgroupError, MountTable, Version};
use oci_spec::runtime::LinuxResources;

/// A cgroup that goes away with the test, and the processes started in it.
struct Trial {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Trial {
    /// `None` where cgroups cannot be made.
    fn new(name: &str, resources: &str) -> Option<Trial> {
        let path = format!("/davit-test-{}-{name}", std::process::id());
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        let cgroup = match Cgroup::plan(&path, Some(&resources)) {
            Err(CgroupError::NotMounted) => return None,
            result => result.unwrap(),
        };
        cgroup.create().unwrap();
        let trial = Trial {
            cgroup,
            children: Vec::new(),
        };
        trial.cgroup.apply().unwrap();
        Some(trial)
    }

    /// Starts `script` in the cgroup. It waits for a line on its input, which it gets when it has been moved.
    fn shell(&mut self, script: &str) -> i32 {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        self.cgroup.join(pid).unwrap();
        use std::io::Write;
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.children.push(child);
        pid
    }

    /// Runs `script` in the cgroup to its end: whether it succeeded, and what it said on its error output.
    fn run(&mut self, script: &str) -> (bool, String) {
        self.shell(script);
        let output = self.children.pop().unwrap().wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// The contents of the first of the files, v1's name and v2's, that is there.
    fn file(&self, controller: &str, v1: &str, v2: &str) -> String {
        let paths = self.cgroup.paths();
        let path = match self.cgroup.version() {
            Version::V1 => paths[controller].join(v1),
            Version::V2 => paths[""].join(v2),
        };
        fs::read_to_string(path).unwrap().trim().to_owned()
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all(9);
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.cgroup.destroy().unwrap();
        assert!(self.cgroup.paths().values().all(|dir| !dir.exists()));
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

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
        let cgroup = Cgroup::from_paths(&trial.cgroup.paths()).unwrap();
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
    let resources = serde_json::from_str(r#"{"cpu": {"cpus": "4000"}}"#).unwrap();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Ok(cgroup) = Cgroup::plan(&path, Some(&resources)) else {
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
        Cgroup::plan(&path, Some(&serde_json::from_str(resources).unwrap())).unwrap()
    };
    let memory = below("memory", r#"{"memory": {"limit": 67108864}}"#);
    let text = memory.create().and_then(|()| memory.apply()).unwrap_err().to_string();
    memory.destroy().unwrap();
    assert!(text.contains("memory") || text.contains("domain"), "{text}");

    let pids = below("pids", r#"{"pids": {"limit": 5}}"#);
    pids.create().unwrap();
    pids.apply().unwrap();
    assert_eq!(
        fs::read_to_string(pids.paths()[""].join("pids.max")).unwrap().trim(),
        "5"
    );
    let memory = below("late", r#"{"memory": {"limit": 67108864}}"#);
    assert!(matches!(memory.create(), Err(CgroupError::Threaded { .. })));
    assert!(!memory.exists());
    pids.destroy().unwrap();
}

/// On v2: files that no other field of the specification reaches.
#[test]
fn unified_files_are_written_and_a_missing_controller_is_named() {
    let Some(version) = Cgroup::plan("/davit-test-probe", None)
        .ok()
        .map(|cgroup| cgroup.version())
    else {
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
    let cgroup = Cgroup::from_paths(&trial.cgroup.paths())
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
        let cgroup = Cgroup::from_paths(&trial.cgroup.paths()).unwrap();
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
fn only_listed_devices_open() {
    let resources = r#"{"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 237, "access": "r"}]}"#;
    let Some(mut trial) = Trial::new("devices", resources) else {
        return;
    };
    let (ok, err) = trial.run("echo > /dev/null && head -c 1 /dev/urandom > /dev/zero");
    assert!(ok, "{err}");
    // kmsg is no device that every container has; reading the loop control device was allowed, writing was not.
    let (ok, err) = trial.run("exec < /dev/kmsg");
    assert!(!ok && err.contains("not permitted"), "{err}");
    if PathBuf::from("/dev/loop-control").exists() {
        let (ok, err) = trial.run("exec < /dev/loop-control");
        assert!(ok, "{err}");
        let (ok, err) = trial.run("exec > /dev/loop-control");
        assert!(!ok && err.contains("not permitted"), "{err}");
    }
}

#[test]
fn a_device_list_can_be_replaced() {
    let Some(mut trial) = Trial::new("redevices", r#"{"devices": [{"allow": false, "access": "rwm"}]}"#) else {
        return;
    };
    assert!(!trial.run("exec < /dev/kmsg").0);
    for (rules, expected) in [
        (r#"[{"allow": true, "access": "rwm"}]"#, true),
        (
            r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
            true,
        ),
        (
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"}]"#,
            true,
        ),
        (
            r#"[{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
            false,
        ),
        (r#"[]"#, false),
    ] {
        let resources = serde_json::from_str(&format!(r#"{{"devices": {rules}}}"#)).unwrap();
        let cgroup = Cgroup::from_paths(&trial.cgroup.paths()).unwrap();
        trial.cgroup = cgroup.with_resources(&resources).unwrap();
        trial.cgroup.apply().unwrap();
        let (ok, err) = trial.run("exec < /dev/kmsg");
        assert_eq!(ok, expected, "{rules} {err}");
    }
}

#[test]
fn a_frozen_cgroup_stands_still_and_goes_on() {
    let Some(mut trial) = Trial::new("freeze", "{}") else {
        return;
    };
    let counter = std::env::temp_dir().join(format!("davit-freeze-{}", std::process::id()));
    trial.shell(&format!("while :; do echo >> {}; sleep 0.01; done", counter.display()));
    let lines = || fs::metadata(&counter).map_or(0, |meta| meta.len());
    wait_until("it counts", || lines() > 3);
    trial.cgroup.freeze().unwrap();
    assert!(trial.cgroup.frozen().unwrap());
    let still = lines();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(lines(), still);
    trial.cgroup.thaw().unwrap();
    assert!(!trial.cgroup.frozen().unwrap());
    wait_until("it counts on", || lines() > still);
    drop(trial);
    fs::remove_file(counter).unwrap();
}

#[test]
fn a_frozen_cgroup_can_be_killed() {
    let Some(mut trial) = Trial::new("kill", "{}") else {
        return;
    };
    trial.shell("sleep 100 & sleep 100 & wait");
    wait_until("three run", || trial.cgroup.pids().unwrap().len() == 3);
    trial.cgroup.freeze().unwrap();
    trial.cgroup.kill_all(9).unwrap();
    for child in &mut trial.children {
        child.wait().unwrap();
    }
    wait_until("none runs", || trial.cgroup.pids().unwrap().is_empty());
}

#[test]
fn processes_that_fork_all_the_time_do_not_outrun_the_kill() {
    let Some(mut trial) = Trial::new("forks", r#"{"pids": {"limit": 64}}"#) else {
        return;
    };
    trial.shell("for i in 1 2 3 4 5 6 7 8; do while :; do (:); done & done; wait");
    wait_until("all fork", || trial.cgroup.pids().unwrap().len() > 8);
    trial.cgroup.kill_all(9).unwrap();
    wait_until("none runs", || trial.cgroup.pids().unwrap().is_empty());
}

#[test]
fn a_real_time_signal_is_a_signal_too() {
    let Some(mut trial) = Trial::new("signal", "{}") else {
        return;
    };
    let pid = trial.shell("exec sleep 100");
    wait_until("it runs", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep"
    });
    trial.cgroup.kill_all(40).unwrap();
    let status = trial.children.pop().unwrap().wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(40));
}

#[test]
fn a_thread_that_joins_by_itself_is_in_every_v1_hierarchy() {
    let Some(trial) = Trial::new("self", "{}") else { return };
    let own = std::thread::scope(|scope| {
        let join = scope.spawn(|| {
            trial.cgroup.join_self().unwrap();
            fs::read_to_string("/proc/thread-self/cgroup").unwrap()
        });
        join.join().unwrap()
    });
    let name = format!("/davit-test-{}-self", std::process::id());
    for line in own.lines().filter(|line| !line.starts_with("0::")) {
        assert!(
            line.ends_with(&name) || !trial.cgroup.paths().contains_key(line.split(':').nth(1).unwrap()),
            "{own}"
        );
    }
}

#[test]
fn an_empty_cgroup_that_is_there_already_is_taken_over() {
    let Some(trial) = Trial::new("reuse", "{}") else { return };
    let path = format!("/davit-test-{}-reuse", std::process::id());
    Cgroup::plan(&path, None).unwrap().create().unwrap();
    assert!(trial.cgroup.clone_fd().unwrap().is_some() || !trial.cgroup.paths().contains_key(""));
    trial.cgroup.freeze().unwrap();
    assert!(matches!(
        Cgroup::plan(&path, None).unwrap().create(),
        Err(CgroupError::Frozen)
    ));
    trial.cgroup.thaw().unwrap();
}

#[test]
fn a_deep_path_is_made_with_processors_and_memory_nodes() {
    let Some(mut trial) = Trial::new("deep/er/still", "{}") else {
        return;
    };
    assert!(trial.run("true").0);
    drop(trial);
    let top = Cgroup::plan(&format!("/davit-test-{}-deep", std::process::id()), None).unwrap();
    assert!(top.exists());
    top.destroy().unwrap();
    assert!(!top.exists());
}

#[test]
fn limits_without_a_controller_are_refused_before_anything_is_made() {
    let path = format!("/davit-test-{}-refused", std::process::id());
    let plan = |resources: &str| Cgroup::plan(&path, Some(&serde_json::from_str(resources).unwrap()));
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
fn stored_paths_outside_of_the_hierarchies_are_refused() {
    let Some(trial) = Trial::new("paths", "{}") else { return };
    for bad in ["/etc", "/sys/fs/cgroup", "/sys/fs/cgroup/memory/../../../etc"] {
        let paths = trial
            .cgroup
            .paths()
            .into_keys()
            .map(|name| (name, PathBuf::from(bad)))
            .collect();
        assert!(matches!(Cgroup::from_paths(&paths), Err(CgroupError::NoPaths)), "{bad}");
    }
}

#[test]
fn somebody_elses_cgroup_is_refused_and_left_alone() {
    let Some(mut trial) = Trial::new("taken", "{}") else {
        return;
    };
    trial.shell("exec sleep 100");
    let path = format!("/davit-test-{}-taken", std::process::id());
    let second = Cgroup::plan(&path, None).unwrap();
    assert!(matches!(second.create(), Err(CgroupError::NotEmpty(1))));
    assert_eq!(trial.cgroup.pids().unwrap().len(), 1);
}

#[test]
fn cgroups_made_by_the_container_are_counted_and_removed() {
    let Some(mut trial) = Trial::new("nested", "{}") else {
        return;
    };
    for dir in trial.cgroup.paths().values() {
        let _ = fs::create_dir_all(dir.join("a/b"));
    }
    let pid = trial.shell("exec sleep 100");
    let (controller, file) = match trial.cgroup.version() {
        Version::V1 => ("devices", "a/b/cgroup.procs"),
        Version::V2 => ("", "a/b/cgroup.procs"),
    };
    fs::write(trial.cgroup.paths()[controller].join(file), pid.to_string()).unwrap();
    assert_eq!(trial.cgroup.pids().unwrap(), [pid]);
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

#[test]
fn the_mount_table_names_every_v1_hierarchy() {
    let Some(trial) = Trial::new("table", "{}") else { return };
    match trial.cgroup.mount_table() {
        MountTable::Hierarchies { mounts, .. } => {
            let v1 = trial.cgroup.paths().into_iter().filter(|(name, _)| !name.is_empty());
            for (_, dir) in v1 {
                assert!(mounts.iter().any(|mount| mount.source == dir), "{dir:?}");
            }
        }
        MountTable::Unified { source } => assert_eq!(source, trial.cgroup.paths()[""]),
    }
}
