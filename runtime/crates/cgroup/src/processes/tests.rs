use std::{
    path::PathBuf,
    process::{Child, Command},
};

use rustix::process::geteuid;

use super::*;
use crate::{
    host::{Hierarchy, Host},
    v2::Unified,
};

/// A process that sleeps, and ends with the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Sleeper(Command::new("sleep").arg("100").spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A v2 cgroup with a threaded one in it, and a process whose only thread is there.
struct Threaded {
    mounted: Hierarchy,
    domain: PathBuf,
    sleeper: Sleeper,
}

impl Threaded {
    /// `None` where no v2 hierarchy can be written to.
    fn new() -> Option<Self> {
        let mounted = match Host::discover() {
            Ok(Host::Unified(mounted)) => mounted,
            Ok(Host::Hierarchies(mounted)) => mounted.into_iter().find(|hierarchy| hierarchy.is_unified())?,
            Err(_) => return None,
        };
        if !geteuid().is_root() {
            return None;
        }
        let domain = mounted
            .mount_point
            .join(format!("davit-test-{}-threads", std::process::id()));
        let threaded = Threaded {
            mounted,
            domain,
            sleeper: Sleeper::new(),
        };
        fs::create_dir_all(threaded.dir()).unwrap();
        let pid = threaded.sleeper.pid().to_string();
        fs::write(threaded.domain.join("cgroup.procs"), &pid).unwrap();
        fs::write(threaded.dir().join("cgroup.type"), "threaded").unwrap();
        fs::write(threaded.dir().join("cgroup.threads"), &pid).unwrap();
        Some(threaded)
    }

    fn dir(&self) -> PathBuf {
        self.domain.join("threaded")
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        let _ = self.sleeper.0.kill();
        let _ = self.sleeper.0.wait();
        walk::remove(&self.domain).unwrap();
    }
}

#[test]
fn a_threaded_cgroup_has_processes_which_can_be_killed() {
    let Some(mut threaded) = Threaded::new() else { return };
    let dir = threaded.dir();
    assert!(fs::read(dir.join("cgroup.procs")).is_err());
    assert_eq!(in_tree(&dir).unwrap(), [threaded.sleeper.pid()]);
    let cgroup = Unified::from_paths(&threaded.mounted, &[(String::new(), dir)].into()).unwrap();
    cgroup.kill_all(9).unwrap();
    threaded.sleeper.0.wait().unwrap();
}

#[test]
fn a_thread_belongs_to_its_process() {
    let thread = std::thread::spawn(|| {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        (thread, process_of(thread))
    });
    let own = std::process::id() as i32;
    let (thread, process) = thread.join().unwrap();
    assert_ne!(thread, own);
    assert_eq!(process, Some(own));
}

#[test]
fn a_number_that_has_left_the_cgroup_is_not_signalled() {
    let dir = tempfile::tempdir().unwrap();
    let mut left = Sleeper::new();
    let mut member = Sleeper::new();
    fs::write(dir.path().join("cgroup.procs"), format!("{}\n", member.pid())).unwrap();
    signal_listed(dir.path(), &[left.pid(), member.pid()], 9).unwrap();
    member.0.wait().unwrap();
    assert!(left.0.try_wait().unwrap().is_none());
}
