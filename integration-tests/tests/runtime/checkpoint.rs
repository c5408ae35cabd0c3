//! Checkpoint and restore.
//!
//! They need a criu that gets along with this kernel: the machine's own or, where that is too old, the peers'. Where
//! there is none, a test says so; the virtual machine has one.

#[path = "checkpoint/connections.rs"]
mod connections;
#[path = "checkpoint/double.rs"]
mod double;
#[path = "checkpoint/outside.rs"]
mod outside;
#[path = "checkpoint/pages.rs"]
mod pages;
#[path = "checkpoint/requests.rs"]
mod requests;
#[path = "checkpoint/rig.rs"]
pub mod rig;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use davit_integration_tests::{Run, wait};
use serde_json::{Value, json};

use super::{
    bundle::Bundle,
    descriptors::receive,
    foreground::{deafener, with},
};
use rig::Rig;

/// Locks the open file of a number, or fails.
const LOCK: &str = r#"
#include <stdlib.h>
#include <sys/file.h>
int main(int count, char **words) { return flock(atoi(words[1]), LOCK_EX | LOCK_NB) != 0; }
"#;
/// Counts in a file of the container's root.
pub const COUNTER: &str = "i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.02; done";

#[test]
fn a_counter_counts_on_after_a_restore_and_again() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    rig.counts_on();
    for _ in 0..2 {
        rig.checkpoint(&[]).ok();
        let at = rig.number("count");
        rig.is_gone();
        rig.restore(&["--pid-file", &rig.bundle.file("pid")]).ok();
        let state = rig.bundle.state();
        assert_eq!(state["status"], "running");
        assert_eq!(
            fs::read_to_string(rig.bundle.file("pid")).expect("a pid file"),
            state["pid"].to_string()
        );
        rig.counts_on();
        assert!(rig.number("count") > at);
        // Beside the restored processes, in all their namespaces: the next checkpoint takes it along.
        rig.exec(&["sh", "-c", "sleep 1000 <&- >&- 2>&- & echo $! > /visitor"]);
        let visitor = rig.number("visitor").to_string();
        assert_eq!(rig.exec(&["cat", &format!("/proc/{visitor}/comm")]), "sleep");
    }
    rig.runtime(&["kill", rig.bundle.id(), "KILL"]).ok();
    wait::until_true("it has ended", 10, || rig.bundle.state()["status"] == "stopped");
    rig.runtime(&["delete", rig.bundle.id()]).ok();
    rig.is_gone();
}

#[test]
fn a_container_can_be_left_running_and_a_paused_one_written_down() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    rig.counts_on();
    rig.checkpoint(&["--leave-running"]).ok();
    assert_eq!(rig.bundle.state()["status"], "running");
    rig.counts_on();
    rig.restore(&[]).code_is(1).says("already exists");
    rig.runtime(&["pause", rig.bundle.id()]).ok();
    rig.checkpoint(&["--leave-running"]).ok();
    assert_eq!(rig.bundle.state()["status"], "paused");
    rig.checkpoint(&[]).ok();
    rig.is_gone();
    rig.restore(&[]).ok();
    rig.counts_on();
}

#[test]
fn an_image_that_no_flag_names_is_below_the_callers_folder() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    rig.counts_on();
    let (bundle, id) = (rig.bundle.path(), rig.bundle.id());
    let here = |args: &[&str]| {
        let mut command = rig.command(&[&args[..1], rig.network_lock, &args[1..]].concat());
        command.current_dir(&bundle);
        rig.finish(command)
    };
    here(&["checkpoint", id]).ok();
    assert!(fs::exists(rig.bundle.file("checkpoint/inventory.img")).expect("the bundle is ours"));
    here(&["restore", "--detach", "--bundle", &bundle, id]).ok();
    rig.counts_on();
}

#[test]
fn streams_of_a_restored_container_are_those_of_the_restore() {
    let Some(rig) = Rig::new() else { return };
    let spoken_to = |args: &[&str]| {
        let mut command = rig.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the runtime is built");
        let streams = (child.stdin.take(), child.stdout.take());
        assert!(child.wait().expect("a child").success(), "{}", log_of(&rig));
        let (mut input, output) = (streams.0.expect("a pipe"), streams.1.expect("a pipe"));
        writeln!(input, "{}", args[0]).expect("somebody reads");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("somebody writes");
        (line, input)
    };
    rig.args("while read line; do echo heard $line; done; sleep 1000");
    let (bundle, images, id) = (rig.bundle.path(), rig.bundle.file("images"), rig.bundle.id());
    let (line, input) = spoken_to(&["run", "--detach", "--bundle", &bundle, id]);
    assert_eq!(line, "heard run\n");
    rig.checkpoint(&[]).ok();
    drop(input);
    let mut args = vec!["restore", "--detach", "--bundle", &bundle, "--image-path", &images, id];
    args.splice(1..1, rig.network_lock.iter().copied());
    assert_eq!(spoken_to(&args).0, "heard restore\n");
}

#[test]
fn a_restore_in_the_foreground_ends_as_the_program_does_and_takes_the_container_along() {
    let Some(rig) = Rig::new() else { return };
    rig.run(&format!("trap 'exit 7' TERM; {COUNTER}"));
    rig.counts_on();
    rig.checkpoint(&[]).ok();
    let (bundle, images, id) = (rig.bundle.path(), rig.bundle.file("images"), rig.bundle.id());
    let mut args = vec!["restore", "--bundle", &bundle, "--image-path", &images, id];
    args.splice(1..1, rig.network_lock.iter().copied());
    let mut restore = rig.bundle.spawn(&mut rig.command(&args));
    wait::until_true("it is restored", 20, || {
        rig.bundle.ids() == [id] && rig.bundle.state()["status"] == "running"
    });
    rig.counts_on();
    assert_eq!(restore.try_wait().expect("a child"), None);
    // Without a name it is the signal to terminate.
    rig.runtime(&["kill", id]).ok();
    let ended = wait::until("the restore has ended", 20, || restore.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(7), "{}", log_of(&rig));
    rig.is_gone();
}

#[test]
fn a_restored_container_that_cannot_be_waited_for_is_killed_and_removed() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    rig.counts_on();
    rig.checkpoint(&[]).ok();
    let (bundle, images, id) = (rig.bundle.path(), rig.bundle.file("images"), rig.bundle.id());
    let mut args = vec!["restore", "--bundle", &bundle, "--image-path", &images, id];
    args.splice(1..1, rig.network_lock.iter().copied());
    let mut restore = with(deafener(&rig.bundle), &rig.command(&args));
    restore.env("PATH", &rig.path);
    let status = restore
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the runtime is built");
    assert_eq!(status.code(), Some(1));
    assert!(log_of(&rig).contains("wait for signal"), "{}", log_of(&rig));
    rig.is_gone();
}

#[test]
fn a_terminal_is_handed_over_anew() {
    let Some(rig) = Rig::new() else { return };
    rig.bundle.edit(|config| config["process"]["terminal"] = json!(true));
    let mut listeners = 0;
    let mut with_terminal = |args: &[&str]| {
        listeners += 1;
        let socket = rig.bundle.file(&format!("console-{listeners}"));
        let listener = UnixListener::bind(&socket).expect("the bundle is ours");
        let mut args = args.to_vec();
        args.extend(["--console-socket", &socket, rig.bundle.id()]);
        rig.runtime(&args).ok();
        let mut terminal = fs::File::from(receive(&listener).1);
        terminal.write_all(b"hello\n").expect("a terminal");
        let mut said = Vec::new();
        let mut buffer = [0; 256];
        while !String::from_utf8_lossy(&said).contains("heard hello") {
            let length = terminal.read(&mut buffer).expect("a terminal");
            said.extend(&buffer[..length]);
        }
        terminal
    };
    rig.args("while read line; do echo heard $line; done");
    let bundle = rig.bundle.path();
    let first = with_terminal(&["run", "--detach", "--bundle", &bundle]);
    rig.checkpoint(&[]).ok();
    drop(first);
    let images = rig.bundle.file("images");
    let mut args = vec!["restore", "--detach", "--bundle", &bundle, "--image-path", &images];
    args.extend(rig.network_lock);
    with_terminal(&args);
}

#[test]
fn binds_are_put_back_and_masked_files_are_covered_by_a_device_of_the_containers_own() {
    let Some(rig) = Rig::new() else { return };
    let volumes = ["outer", "inner"].map(|name| rig.bundle.file(name));
    volumes
        .iter()
        .for_each(|path| fs::create_dir(path).expect("the bundle is ours"));
    fs::write(rig.bundle.file("outer/file"), "outer").expect("the bundle is ours");
    fs::write(rig.bundle.file("inner/file"), "inner").expect("the bundle is ours");
    std::os::unix::fs::symlink("/real", rig.bundle.rootfs().join("link")).expect("the rootfs is ours");
    rig.bundle.edit(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/scsi"]);
        let mounts = config["mounts"].as_array_mut().expect("a list");
        for (source, destination) in volumes.iter().zip(["/link/outer", "/link/outer/below"]) {
            mounts.push(json!({"type": "bind", "source": source, "destination": destination, "options": ["rbind"]}));
        }
    });
    rig.run(COUNTER);
    rig.counts_on();
    for _ in 0..2 {
        rig.checkpoint(&[]).ok();
        // A fresh copy of the bundle would not have it either.
        fs::remove_dir(rig.bundle.file("outer/below")).expect("nothing is mounted there");
        rig.restore(&[]).ok();
        assert_eq!(
            rig.exec(&["cat", "/real/outer/file", "/link/outer/below/file"]),
            "outerinner"
        );
        assert_eq!(rig.exec(&["cat", "/proc/keys"]), "");
    }
    let device = rig.exec(&["stat", "-c", "%d %t:%T", "/proc/keys"]);
    let (file_system, number) = device.split_once(' ').expect("two words");
    assert_eq!(number, "1:3");
    let hosts = Command::new("stat").args(["-c", "%d", "/dev/null"]).finish().ok();
    assert_ne!(file_system, hosts, "its mode could be changed for everybody");
}

#[test]
fn connections_in_a_shared_network_namespace_are_kept_where_that_is_asked_for() {
    let Some(rig) = Rig::new() else { return };
    let netns = Netns::new(&rig);
    // An end of input would be passed on to the other side.
    let listen = "sleep 1000 | nc -l -p 4000 | while read line; do echo $line > /count; done &";
    let speak = "sleep 0.3; i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done | nc 127.0.0.1 4000";
    rig.run(&format!("{listen} {speak}"));
    rig.counts_on();

    // criu refuses, and what it stopped goes on.
    rig.checkpoint(&[])
        .code_is(1)
        .says("criu failed: type DUMP errno")
        .says("dump.log");
    assert_eq!(rig.bundle.state()["status"], "running");
    rig.counts_on();

    rig.checkpoint(&["--tcp-established"]).ok();
    rig.is_gone_but_for(&netns);
    let at = rig.number("count");
    rig.restore(&["--tcp-established"]).ok();
    let pid = &rig.bundle.state()["pid"];
    let inode = |path: String| fs::metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::ino(&metadata));
    assert_eq!(
        inode(format!("/proc/{pid}/ns/net")).expect("it runs"),
        inode(netns.path()).expect("it exists")
    );
    if !rig.network_lock.is_empty() && rig.criu_version() < (4, 1) {
        // Its table has the pid in its name, and that is another one now.
        davit_integration_tests::skipped!(
            "criu before 4.1 does not undo its lock by nftables in a network that goes on"
        );
        return;
    }
    wait::until_true("the connection lives", 20, || rig.number("count") > at);
}

#[test]
fn what_criu_must_be_allowed_to_do_is_refused_without_the_flag_and_done_with_it() {
    for (script, flag, at_both, question, answer) in [
        (
            "exec 9> /file; lock 9",
            "--file-locks",
            true,
            "exec 8> /file; lock 8 || echo held",
            "held",
        ),
        // A file whose name is gone, and which has another.
        (
            "echo > /one; ln /one /other; exec 9< /one; rm /one",
            "--link-remap",
            false,
            "readlink /proc/1/fd/9",
            "/one (deleted)",
        ),
    ] {
        let Some(rig) = Rig::new() else { return };
        rig.bundle.compile("lock", LOCK);
        rig.run(&format!("{script}; {COUNTER}"));
        rig.counts_on();
        let work = rig.bundle.file("work");
        rig.checkpoint(&["--work-path", &work]).code_is(1).says("criu failed");
        // What it has to say is where it was told to work.
        assert!(Path::new(&work).join("dump.log").exists());
        rig.counts_on();
        rig.checkpoint(&[flag]).ok();
        let again: Vec<_> = at_both.then_some(flag).into_iter().collect();
        rig.restore(&again).ok();
        rig.counts_on();
        assert_eq!(rig.exec(&["sh", "-c", question]), answer, "{flag}");
        rig.runtime(&["delete", "--force", rig.bundle.id()]).ok();
        rig.is_gone();
    }
}

#[test]
fn hooks_run_when_a_container_is_restored_and_when_it_is_gone() {
    let Some(rig) = Rig::new() else { return };
    let told = rig.bundle.file("told");
    rig.bundle.edit(|config| {
        let hook = |name: &str| {
            let script = format!("read state; echo {name} $state >> {told}");
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
        };
        config["hooks"] = json!({"createRuntime": hook("createRuntime"), "poststop": hook("poststop")});
    });
    let heard = || fs::read_to_string(&told).unwrap_or_default();
    rig.run(COUNTER);
    rig.checkpoint(&[]).ok();
    assert_eq!(heard().lines().count(), 2);
    assert!(
        heard().lines().last().is_some_and(|line| line.starts_with("poststop")),
        "{}",
        heard()
    );
    rig.restore(&[]).ok();
    let last = heard().lines().last().unwrap_or_default().to_owned();
    let state: Value = serde_json::from_str(last.strip_prefix("createRuntime ").expect("the hook")).expect("JSON");
    assert_eq!(state["pid"], rig.bundle.state()["pid"]);

    // Without that hook's consent there is no container, and what there was is gone again.
    rig.checkpoint(&[]).ok();
    rig.bundle.edit(|config| {
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/false"}]);
    });
    fs::remove_file(&told).expect("the bundle is ours");
    rig.restore(&[]).code_is(1).says("error running createRuntime hook #0");
    assert_eq!(heard().lines().count(), 1, "{}", heard());
    assert!(heard().starts_with("poststop"), "{}", heard());
    rig.is_gone();
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let Some(rig) = Rig::new() else { return };
    let images = rig.bundle.file("images");
    rig.restore(&[])
        .code_is(1)
        .says("images/descriptors.json: no such file or directory");
    assert!(!Path::new(&images).exists());
    rig.is_gone();
    rig.run(COUNTER);
    rig.checkpoint(&[]).ok();
    fs::remove_file(rig.bundle.file("images/core-1.img")).expect("the image is ours");
    rig.restore(&[])
        .code_is(1)
        .says("criu failed: type RESTORE errno")
        .says("restore.log");
    rig.is_gone();
}

#[test]
fn what_a_killed_restore_leaves_is_deleted_by_force() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    rig.checkpoint(&[]).ok();
    // The first criu is asked for its version; the second one only says where it is.
    let (once, pid) = (rig.bundle.file("once"), rig.bundle.file("criu-pid"));
    let real = which("criu", &rig.path);
    let (folder, path) = (rig.bundle.file("stuck"), &rig.path);
    fs::create_dir(&folder).expect("the bundle is ours");
    let script = format!(
        "#!/bin/sh\n[ -e {once} ] || {{ touch {once}; exec {real} \"$@\"; }}\necho $$ > {pid}.new; mv {pid}.new {pid}\nexec sleep 1000\n"
    );
    rig.install("criu", &script, Path::new(&folder));
    let (images, bundle) = (rig.bundle.file("images"), rig.bundle.path());
    let mut command = rig.command(&[
        "restore",
        "--detach",
        "--image-path",
        &images,
        "--bundle",
        &bundle,
        rig.bundle.id(),
    ]);
    let mut runtime = Killed(
        command
            .env("PATH", format!("{folder}:{path}"))
            .spawn()
            .expect("the runtime is built"),
    );
    let criu = wait::until("criu is started", 10, || fs::read_to_string(&pid).ok());
    runtime.0.kill().expect("it waits for criu");
    runtime.0.wait().expect("a child");
    wait::until_true("criu is gone, too", 10, || !is_running(criu.trim()));
    rig.runtime(&["delete", "--force", rig.bundle.id()]).ok();
    rig.is_gone();
    assert!(
        rig.bundle.rootfs().join("bin").exists(),
        "the root is not part of the container's folder"
    );
}

#[test]
fn a_restore_that_hangs_in_a_hook_is_ended_by_a_forced_deletion() {
    let Some(rig) = Rig::new() else { return };
    let seen = rig.bundle.file("seen");
    rig.run(COUNTER);
    rig.checkpoint(&[]).ok();
    rig.bundle.edit(|config| {
        let script = format!("cat > {seen}; exec sleep 60");
        config["hooks"] = json!({"createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]},
        ]});
    });
    let (images, bundle, id) = (rig.bundle.file("images"), rig.bundle.path(), rig.bundle.id());
    let mut args = vec!["restore", "--image-path", &images, "--bundle", &bundle];
    args.extend(rig.network_lock);
    args.push(id);
    let mut restore = Killed(rig.command(&args).spawn().expect("the runtime is built"));
    wait::until_true("the hook runs", 20, || Path::new(&seen).exists());
    rig.runtime(&["delete", "--force", id]).ok();
    assert!(!restore.0.wait().expect("a child").success());
    rig.is_gone();
    assert!(!rig.bundle.root().join(id).exists());
}

#[test]
fn a_checkpoint_that_criu_breaks_off_leaves_the_container_running() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    let once = rig.bundle.file("once");
    let real = which("criu", &rig.path);
    let (folder, path) = (rig.bundle.file("broken"), rig.path.clone());
    fs::create_dir(&folder).expect("the bundle is ours");
    // It freezes the container, as criu does, and dies.
    let pid = rig.bundle.state()["pid"].to_string();
    let script = format!(
        "#!/bin/sh\n[ -e {once} ] || {{ touch {once}; exec {real} \"$@\"; }}\n\
         v1=/sys/fs/cgroup/freezer$(sed -n 's/^[0-9]*:freezer://p' /proc/{pid}/cgroup)\n\
         v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/{pid}/cgroup)\n\
         [ -e $v1/freezer.state ] && echo FROZEN > $v1/freezer.state || echo 1 > $v2/cgroup.freeze\n\
         exit 1\n"
    );
    rig.install("criu", &script, Path::new(&folder));
    let (images, id) = (rig.bundle.file("images"), rig.bundle.id());
    let mut command = rig.command(&["checkpoint", "--image-path", &images, id]);
    let status = command
        .env("PATH", format!("{folder}:{path}"))
        .status()
        .expect("the runtime is built");
    assert_eq!(status.code(), Some(1), "{}", log_of(&rig));
    assert!(
        log_of(&rig).contains("criu went away without an answer"),
        "{}",
        log_of(&rig)
    );
    assert_eq!(rig.bundle.state()["status"], "running");
    rig.counts_on();
}

#[test]
fn what_cannot_be_done_is_refused_before_criu_is_asked() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    let runtime = |args: &[&str]| {
        let mut command = bundle.command(args);
        command.arg(bundle.id()).env("PATH", "/nowhere").finish()
    };
    runtime(&["checkpoint"]).code_is(1).says("container does not exist");
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    runtime(&["checkpoint"])
        .code_is(1)
        .says("Container cannot be checkpointed in created state");
    bundle.runtime(&["start", bundle.id()]).ok();
    let images = bundle.file("images");
    for (flags, text) in [
        (["--parent-path", "/absolute"], "--parent-path must be relative"),
        (["--parent-path", "none"], "invalid --parent-path"),
        (["--page-server", ":1"], "Use --page-server ADDRESS:PORT"),
        (["--page-server", "a:b"], "Invalid port number"),
        (["--manage-cgroups-mode", "x"], "invalid manage-cgroups-mode value"),
        (["--empty-ns", "pid"], "is not supported"),
        (["--network-lock", "x"], "--network-lock"),
        (
            ["--empty-ns", "network"],
            "CRIU version check failed: exec: \\\"criu\\\": executable file not found in $PATH",
        ),
    ] {
        runtime(&[&["checkpoint", "--image-path", &images], &flags[..]].concat())
            .code_is(1)
            .says(text);
    }
    runtime(&["checkpoint", "--lazy-pages", "--status-fd", "99"])
        .code_is(1)
        .says("invalid --status-fd argument 99: bad file descriptor");
    runtime(&["delete", "--force"]).ok();
    runtime(&["restore", "--bundle", &bundle.path()])
        .code_is(1)
        .says("CRIU version check failed");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace with a loopback interface, as ip(8) makes them.
struct Netns(String);

impl Netns {
    /// The rig's container is to be in it.
    fn new(rig: &Rig) -> Self {
        let name = rig.bundle.id().to_owned();
        Command::new("ip").args(["netns", "add", &name]).finish().ok();
        let netns = Netns(name);
        Command::new("ip")
            .args(["-n", &netns.0, "link", "set", "lo", "up"])
            .finish()
            .ok();
        rig.bundle.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            let network = namespaces.iter_mut().find(|namespace| namespace["type"] == "network");
            network.expect("a network namespace")["path"] = json!(netns.path());
        });
        netns
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        Command::new("ip").args(["netns", "delete", &self.0]).finish();
    }
}

impl Rig {
    /// The namespace is of the same name as the container.
    fn is_gone_but_for(&self, netns: &Netns) {
        assert!(Path::new(&netns.path()).exists());
        assert_eq!(self.bundle.ids(), Vec::<String>::new());
        assert_eq!(self.bundle.cgroups(), Vec::<String>::new());
    }
}

fn which(program: &str, path: &str) -> String {
    let found = env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file());
    found.expect("criu has run").display().to_string()
}

fn is_running(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

fn log_of(rig: &Rig) -> String {
    fs::read_to_string(rig.log()).unwrap_or_default()
}
