//! CVE-2019-5736: the runtime's own binary, seen from a container.

use std::{fs, io::ErrorKind, os::fd::AsRawFd, process::Command};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use super::{Bundle, pid, start};

/// The program of a process, as one with the privilege to trace would open it.
pub struct Held(fs::File);

impl Held {
    pub fn of(pid: &str) -> Self {
        Self(fs::File::open(format!("/proc/{pid}/exe")).expect("we are root"))
    }

    /// The process ends, and from then on it is nobody's program, which the kernel would guard.
    pub fn cannot_be_written(&self) {
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let refusal = wait::until("nobody runs the binary any more, and it cannot be written", 10, || {
            let opened = fs::OpenOptions::new().write(true).open(&path);
            opened.err().filter(|err| err.kind() != ErrorKind::ExecutableFileBusy)
        });
        assert_eq!(refusal.kind(), ErrorKind::ReadOnlyFilesystem);
    }
}

#[test]
fn whoever_gets_hold_of_the_runtimes_binary_in_a_container_cannot_write_to_it() {
    let bundle = Bundle::new();
    let binary = bundle.private_runtime();
    let before = fs::read(&binary).expect("the runtime");
    Command::new("mkfifo").arg(bundle.rootfs().join("fifo")).finish().ok();
    // The container's program is whatever executes it: the runtime, which waits for somebody to read its log.
    bundle.edit(|config| config["process"]["args"] = json!(["/proc/self/exe", "--log", "/fifo", "features"]));
    let mut run = Command::new(&binary);
    run.arg("--root").arg(bundle.root());
    run.args(["run", "--detach", "--bundle", &bundle.path(), bundle.id()]);
    let null = || fs::File::create("/dev/null").expect("a device");
    let run = run.stdout(null()).stderr(null()).status();
    assert!(run.expect("the runtime is built").success());
    let held = Held::of(&pid(&bundle));
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    held.cannot_be_written();
    assert!(before == fs::read(&binary).expect("the runtime"));
}

#[test]
fn a_container_cannot_overwrite_the_runtime_that_enters_it() {
    let bundle = Bundle::new();
    let binary = bundle.private_runtime();
    let before = fs::read(&binary).expect("the runtime");
    // A container that waits for an exec, holds what it sees of it, and tries to write to that.
    let script = "while :; do for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) ;; *) \
                  (exec 9<$p/exe; echo overwritten > /proc/self/fd/9) 2>/dev/null; \
                  (echo overwritten > $p/exe) 2>/dev/null;; esac; done; done";
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    start(&bundle);
    for _ in 0..20 {
        let mut exec = Command::new(&binary);
        exec.arg("--root")
            .arg(bundle.root())
            .args(["exec", bundle.id(), "true"])
            .finish()
            .ok();
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert!(before == fs::read(&binary).expect("the runtime"));
}
