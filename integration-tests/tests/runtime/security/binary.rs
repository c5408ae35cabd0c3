//! CVE-2019-5736: the runtime's own binary, seen from a container.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::fd::AsRawFd,
    path::PathBuf,
    process::{Command, Stdio},
};

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
        let write = || -> io::Result<()> {
            fs::OpenOptions::new()
                .write(true)
                .open(&path)?
                .write_all(b"overwritten")
        };
        let refusal = wait::until("nobody runs the binary any more, and it cannot be written", 10, || {
            write().err().filter(|err| err.kind() != ErrorKind::ExecutableFileBusy)
        });
        // Of a read-only mount, and of sealed memory.
        let refusals = [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied];
        assert!(refusals.contains(&refusal.kind()), "{refusal}");
    }
}

/// Executes whatever executes it: the runtime, which waits for somebody to read its log.
pub const EXECUTE_THE_RUNTIME: [&str; 4] = ["/proc/self/exe", "--log", "/fifo", "features"];

/// A runtime of the test's own that waits in a container.
struct Waiting {
    bundle: Bundle,
    binary: PathBuf,
}

impl Waiting {
    fn new() -> Self {
        let bundle = Bundle::new();
        let binary = bundle.private_runtime();
        Command::new("mkfifo").arg(bundle.rootfs().join("fifo")).finish().ok();
        Self { bundle, binary }
    }

    fn runtime(&self, args: &[&str]) {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(self.bundle.root()).args(args);
        self.bundle.finish_into_files(&mut command).ok();
    }

    /// The process ends, and its binary is what it was.
    fn cannot_be_written_as(&self, pid: &str) {
        let before = fs::read(&self.binary).expect("the runtime");
        let held = Held::of(pid);
        self.bundle.runtime(&["delete", "--force", self.bundle.id()]).ok();
        held.cannot_be_written();
        assert!(before == fs::read(&self.binary).expect("the runtime"));
    }
}

#[test]
fn whoever_gets_hold_of_the_runtimes_binary_in_a_container_cannot_write_to_it() {
    let waiting = Waiting::new();
    let (bundle, folder) = (&waiting.bundle, waiting.bundle.path());
    bundle.edit(|config| config["process"]["args"] = json!(EXECUTE_THE_RUNTIME));
    waiting.runtime(&["run", "--detach", "--bundle", &folder, bundle.id()]);
    waiting.cannot_be_written_as(&pid(bundle));

    bundle.sleeping();
    let pid_file = bundle.file("pid");
    let exec = ["exec", "--detach", "--pid-file", &pid_file, bundle.id()];
    waiting.runtime(&[&exec[..], &EXECUTE_THE_RUNTIME].concat());
    waiting.cannot_be_written_as(&fs::read_to_string(pid_file).expect("a pid"));
}

/// CVE-2016-9962 for who enters: from when it has no more privileges than the container, until it executes its program.
#[test]
fn who_enters_is_hidden_from_a_container_of_the_same_privileges() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let mut exec = bundle.command(&["exec", bundle.id(), "true"]);
    exec.env("DAVIT_FAIL_POINT", "exec.forked:stop");
    let exec = exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // The runtime stands still, and who enters waits for its word.
    let mut entering = bundle.spawn(exec);
    let script = "own=$(grep CapPrm /proc/$$/status); \
                  for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) continue;; esac; \
                  [ \"$(grep CapPrm $p/status)\" = \"$own\" ] || continue; echo entering; \
                  for name in exe root cwd; do readlink $p/$name; done; readlink $p/fd/*; done; true";
    let look = || bundle.exec(&["sh", "-c", script]);
    let seen = wait::until("somebody enters", 20, || {
        Some(look().stdout).filter(|seen| !seen.is_empty())
    });
    Command::new("kill")
        .args(["-CONT", &entering.id().to_string()])
        .finish();
    wait::until_true("the command has ended", 10, || {
        entering.try_wait().expect("a child").is_some()
    });
    assert_eq!(seen, "entering\n");
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
