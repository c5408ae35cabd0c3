//! A cgroup for a test.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use davit_cgroup::{Cgroup, CgroupError, Request, Version};

/// A cgroup that goes away with the test, and the processes started in it.
pub struct Trial {
    pub cgroup: Cgroup,
    pub children: Vec<Child>,
}

/// A cgroup by its path and the limits in it.
pub fn plan(path: &str, resources: &str) -> Result<Cgroup, CgroupError> {
    Cgroup::plan(&Request {
        path: Some(path),
        resources: Some(&serde_json::from_str(resources).unwrap()),
        ..Request::new("x")
    })
}

impl Trial {
    /// `None` where cgroups cannot be made.
    pub fn new(name: &str, resources: &str) -> Option<Trial> {
        let path = format!("/davit-test-{}-{name}", std::process::id());
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let mut cgroup = match plan(&path, resources) {
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
    pub fn shell(&mut self, script: &str) -> i32 {
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
    pub fn run(&mut self, script: &str) -> (bool, String) {
        self.shell(script);
        let output = self.children.pop().unwrap().wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// The contents of the first of the files, v1's name and v2's, that is there.
    pub fn file(&self, controller: &str, v1: &str, v2: &str) -> String {
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

/// Waits for `condition`, but not for ever.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
