use std::fs;

use super::*;

/// A folder with a file that holds `before` and then `after`; what putting back makes of it.
fn check(name: &str, before: &str, after: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(name);
    fs::write(&file, before).unwrap();
    let mut backup = Backup::default();
    backup.add(dir.path(), name);
    fs::write(&file, after).unwrap();
    backup.put_back().unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), expected, "{name}");
}

#[test]
fn what_was_in_a_file_is_written_and_no_more() {
    check("pids.max", "max\n", "100\n", "max\n");
    check("cpu.shares", "1024\n", "1024\n", "1024\n");
    check("cpuset.cpus", "", "0", "\n");
}

#[test]
fn a_device_that_was_not_in_a_file_is_taken_out_of_it() {
    check("blkio.throttle.read_bps_device", "", "8:0 5", "8:0 0");
    check("blkio.bfq.weight_device", "", "8:0 5", "8:0 0");
    check("io.weight", "default 100", "default 100\n8:0 5", "8:0 default\n8:0 5");
    check(
        "io.max",
        "",
        "8:0 rbps=5 wbps=max riops=max wiops=max",
        "8:0 rbps=max wbps=max riops=max wiops=max",
    );
    check("blkio.throttle.read_bps_device", "8:0 7", "8:0 5", "8:0 7");
}

#[test]
fn a_file_that_is_not_there_is_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let mut backup = Backup::default();
    backup.add_v1(dir.path(), "memory");
    backup.add_v2(dir.path(), &LinuxResources::default());
    assert!(backup.files.is_empty());
    backup.put_back().unwrap();
}

#[test]
fn files_that_the_limits_name_are_kept_but_for_those_of_no_controller() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["memory.high", "cgroup.procs", "pids.max"] {
        fs::write(dir.path().join(name), "5").unwrap();
    }
    let resources = r#"{"unified": {"memory.high": "1", "cgroup.procs": "1"}}"#;
    let mut backup = Backup::default();
    backup.add_v2(dir.path(), &serde_json::from_str(resources).unwrap());
    let names: Vec<_> = backup.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["pids.max", "memory.high"]);
}
