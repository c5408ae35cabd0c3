//! Made, entered, frozen, killed, found again, removed.

use std::{fs, path::PathBuf, time::Duration};

use davit_cgroup::{Cgroup, CgroupError, Manager, MountTable, Version};

use crate::trial::{Trial, plan, wait_until};

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
fn what_the_container_has_frozen_below_stays_so_until_it_is_killed() {
    let Some(mut trial) = Trial::new("below", "{}") else {
        return;
    };
    let pid = trial.shell("exec sleep 100");
    let (controller, file, frozen, thawed) = match trial.cgroup.version() {
        Version::V1 => ("freezer", "freezer.state", "FROZEN", "THAWED"),
        Version::V2 => ("", "cgroup.freeze", "1", "0"),
    };
    let below = trial.cgroup.paths()[controller].join("below");
    fs::create_dir_all(below.join("deep")).unwrap();
    fs::write(below.join("deep/cgroup.procs"), pid.to_string()).unwrap();
    fs::write(below.join(file), frozen).unwrap();
    let state = || fs::read_to_string(below.join(file)).unwrap();
    wait_until("it is frozen", || state().trim() == frozen);
    // As `resume` does.
    trial.cgroup.freeze().unwrap();
    trial.cgroup.thaw().unwrap();
    assert_eq!(state().trim(), frozen);
    trial.cgroup.kill_all(9).unwrap();
    let died = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        trial.children[0].try_wait().unwrap().is_some()
    });
    // It could not be waited for otherwise.
    let _ = fs::write(below.join(file), thawed);
    assert!(died);
}

#[test]
fn a_killed_process_that_is_frozen_dies_with_the_rest() {
    let Some(mut trial) = Trial::new("deaf", "{}") else {
        return;
    };
    trial.shell("exec sleep 100");
    trial.shell("exec sleep 100");
    trial.cgroup.kill_frozen().unwrap();
    assert_eq!(trial.cgroup.pids().unwrap().len(), 2);
    trial.cgroup.freeze().unwrap();
    trial.children[0].kill().unwrap();
    trial.cgroup.kill_frozen().unwrap();
    let child = &mut trial.children[0];
    wait_until("it is dead", || child.try_wait().unwrap().is_some());
    // On v2 nobody else is asked to die, and nobody need be.
    if trial.cgroup.version() == Version::V1 {
        trial.children[1].wait().unwrap();
    }
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

/// v1's freezer has to be asked again for those, with thaws in between.
#[test]
fn processes_that_fork_all_the_time_are_frozen_with_all_their_children() {
    let Some(mut trial) = Trial::new("forks-freeze", r#"{"pids": {"limit": 64}}"#) else {
        return;
    };
    trial.shell("for i in 1 2 3 4 5 6 7 8; do while :; do (:); done & done; wait");
    wait_until("all fork", || trial.cgroup.pids().unwrap().len() > 8);
    for _ in 0..20 {
        trial.cgroup.freeze().unwrap();
        assert!(trial.cgroup.frozen().unwrap());
        let still = trial.cgroup.pids().unwrap();
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(trial.cgroup.pids().unwrap(), still);
        trial.cgroup.thaw().unwrap();
    }
}

#[test]
fn a_cgroup_that_is_busy_for_a_moment_is_removed_after_it() {
    let Some(mut trial) = Trial::new("busy", "{}") else {
        return;
    };
    trial.shell("exec sleep 0.05");
    assert_eq!(trial.cgroup.pids().unwrap().len(), 1);
    let mut child = trial.children.pop().unwrap();
    let reaper = std::thread::spawn(move || child.wait().unwrap());
    trial.cgroup.destroy().unwrap();
    assert!(!trial.cgroup.exists());
    assert!(reaper.join().unwrap().success());
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
    plan(&path, "{}").unwrap().create().unwrap();
    assert!(trial.cgroup.clone_fd().unwrap().is_some() || !trial.cgroup.paths().contains_key(""));
    trial.cgroup.freeze().unwrap();
    assert!(matches!(plan(&path, "{}").unwrap().create(), Err(CgroupError::Frozen)));
    trial.cgroup.thaw().unwrap();
}

#[test]
fn a_deep_path_is_made_with_processors_and_memory_nodes() {
    let Some(mut trial) = Trial::new("deep/er/still", "{}") else {
        return;
    };
    assert!(trial.run("true").0);
    drop(trial);
    let top = plan(&format!("/davit-test-{}-deep", std::process::id()), "{}").unwrap();
    assert!(top.exists());
    top.destroy().unwrap();
    assert!(!top.exists());
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
        assert!(
            matches!(Cgroup::again(&Manager::Cgroupfs, &paths), Err(CgroupError::NoPaths)),
            "{bad}"
        );
    }
}

#[test]
fn somebody_elses_cgroup_is_refused_and_left_alone() {
    let Some(mut trial) = Trial::new("taken", "{}") else {
        return;
    };
    trial.shell("exec sleep 100");
    let path = format!("/davit-test-{}-taken", std::process::id());
    let mut second = plan(&path, "{}").unwrap();
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
fn the_mount_table_names_every_v1_hierarchy() {
    let Some(trial) = Trial::new("table", "{}") else { return };
    match trial.cgroup.mount_table() {
        MountTable::Hierarchies { mounts, .. } => {
            let v1 = trial.cgroup.paths().into_iter().filter(|(name, _)| !name.is_empty());
            for (_, dir) in v1 {
                assert!(mounts.iter().any(|mount| mount.source == dir), "{dir:?}");
            }
        }
        MountTable::Unified { source, .. } => assert_eq!(source, trial.cgroup.paths()[""]),
    }
}
