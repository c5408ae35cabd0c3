//! What we write and what we read, read once more by cgroups-rs, which shares no code with us.
#![allow(clippy::unwrap_used)]

use cgroups_rs::{
    CgroupPid, FreezerState,
    fs::{
        Controller, MaxValue, cpu::CpuController, freezer::FreezerController, hierarchies, memory::MemController,
        pid::PidController,
    },
};
use davit_cgroup::{Cgroup, CgroupError, Request, Version};

fn with_cgroup(name: &str, resources: &str, check: impl FnOnce(&Cgroup, &cgroups_rs::fs::Cgroup)) {
    let path = format!("/davit-test-{}-{name}", std::process::id());
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let resources = serde_json::from_str(resources).unwrap();
    let mut ours = match Cgroup::plan(&Request {
        path: Some(&path),
        resources: Some(&resources),
        ..Request::new("x")
    }) {
        Err(CgroupError::NotMounted) => return,
        result => result.unwrap(),
    };
    ours.create().unwrap();
    ours.apply().unwrap();
    let theirs = cgroups_rs::fs::Cgroup::load(hierarchies::auto(), path.trim_start_matches('/'));
    check(&ours, &theirs);
    ours.destroy().unwrap();
}

#[test]
fn the_limits_are_the_same() {
    let resources = r#"{"memory": {"limit": 67108864, "reservation": 33554432}, "pids": {"limit": 17},
        "cpu": {"shares": 1024, "quota": 50000, "period": 200000}}"#;
    with_cgroup("limits", resources, |ours, theirs| {
        let cpu: &CpuController = theirs.controller_of().unwrap();
        let memory: &MemController = theirs.controller_of().unwrap();
        let pids: &PidController = theirs.controller_of().unwrap();
        assert_eq!(memory.memory_stat().limit_in_bytes, 67108864);
        assert_eq!(memory.memory_stat().soft_limit_in_bytes, 33554432);
        assert_eq!(pids.get_pid_max().unwrap(), MaxValue::Value(17));
        assert_eq!((cpu.cfs_quota().unwrap(), cpu.cfs_period().unwrap()), (50000, 200000));
        let shares = if ours.version() == Version::V1 { 1024 } else { 100 };
        assert_eq!(cpu.shares().unwrap(), shares);
    });
}

#[test]
fn the_usage_is_the_same() {
    with_cgroup("usage", r#"{"memory": {"limit": 67108864}}"#, |ours, theirs| {
        let mut child = std::process::Command::new("/bin/sleep").arg("100").spawn().unwrap();
        ours.join(child.id() as i32).unwrap();
        let memory: &MemController = theirs.controller_of().unwrap();
        let stats = ours.stats().unwrap();
        assert_eq!(stats.memory.usage.limit as i64, memory.memory_stat().limit_in_bytes);
        assert_eq!(stats.pids.current, 1);
        assert_eq!(theirs.procs(), [CgroupPid::from(u64::from(child.id()))]);
        assert_eq!(ours.pids().unwrap(), [child.id() as i32]);
        ours.kill_all(9).unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn frozen_is_frozen() {
    with_cgroup("frozen", "{}", |ours, theirs| {
        let freezer: &FreezerController = theirs.controller_of().unwrap();
        assert!(freezer.path().exists());
        ours.freeze().unwrap();
        assert!(matches!(freezer.state().unwrap(), FreezerState::Frozen));
        ours.thaw().unwrap();
        assert!(matches!(freezer.state().unwrap(), FreezerState::Thawed));
        freezer.freeze().unwrap();
        assert!(ours.frozen().unwrap());
        freezer.thaw().unwrap();
        assert!(!ours.frozen().unwrap());
    });
}
