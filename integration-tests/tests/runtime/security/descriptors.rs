//! CVE-2016-9962 and CVE-2024-21626: descriptors of the host within a container's reach.

use std::{
    fs,
    process::{Command, Stdio},
};

use davit_integration_tests::Run;
use serde_json::json;

use super::{super::shell_words, Bundle, pid, start};

#[test]
fn a_process_in_the_same_pid_namespace_sees_nothing_of_a_created_container() {
    let (attacker, victim) = (Bundle::new(), Bundle::new());
    attacker.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&attacker);
    victim.edit(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().expect("a list") {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(format!("/proc/{}/ns/pid", pid(&attacker)));
            }
        }
    });
    let create = victim.command(&["create", "--bundle", &victim.path(), victim.id()]);
    let mut create = with_open_root(30, &create);
    let null = || fs::File::create("/dev/null").expect("a device");
    let created = create.stdin(Stdio::null()).stdout(null()).stderr(null()).status();
    assert!(created.expect("bash is installed").success());

    // The host can look: nothing that waits there is a directory.
    let folder = format!("/proc/{}/fd", pid(&victim));
    let open: Vec<_> = fs::read_dir(folder).expect("it waits").flatten().collect();
    assert!(open.len() >= 3);
    for fd in open {
        assert!(!fd.path().is_dir(), "{:?}", fs::read_link(fd.path()));
    }
    // The attacker cannot: whatever asks for the right to trace is refused.
    let script = "cd /proc; for p in [0-9]*; do [ $p = 1 ] || [ $p = $$ ] || grep -q '^1$' $p/nothing 2>/dev/null || \
                  for name in fd/0 cwd root exe; do readlink $p/$name; done; \
                  [ $p = $$ ] || [ $p = 1 ] || (: < $p/mem) 2>/dev/null && [ $p != 1 ] && [ $p != $$ ] && echo mem; done";
    let seen = attacker.runtime(&["exec", attacker.id(), "sh", "-c", script]);
    assert_eq!(seen.stdout.trim(), "", "{seen:?}");
    victim.runtime(&["delete", "--force", victim.id()]).ok();
}

/// A shell that has the host's root open as descriptors 3 to `last`.
fn with_open_root(last: u32, command: &Command) -> Command {
    let open: Vec<String> = (3..=last).map(|fd| format!("{fd}</")).collect();
    let mut bash = Command::new("bash");
    bash.arg("-c")
        .arg(format!("exec {}; exec {}", open.join(" "), shell_words(command)));
    bash
}

#[test]
fn a_working_directory_outside_of_the_container_is_refused_on_run() {
    let bundle = Bundle::new();
    for fd in 3..=30 {
        bundle.edit(|config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
            config["process"]["args"] = json!(["ls", "../../../"]);
        });
        let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
        with_open_root(30, &run).finish().code_is(1);
    }
    // One that is passed on is there, and refused for what it is.
    let run = bundle.command(&["run", "--preserve-fds", "5", "--bundle", &bundle.path(), bundle.id()]);
    bundle.edit(|config| config["process"]["cwd"] = json!("/proc/self/fd/7"));
    with_open_root(7, &run).finish().code_is(1);
}

#[test]
fn a_working_directory_outside_of_the_container_is_refused_on_exec() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&bundle);
    for fd in 3..=30 {
        let cwd = format!("/proc/self/fd/{fd}");
        let exec = bundle.command(&["exec", "--cwd", &cwd, bundle.id(), "ls", "../../../"]);
        with_open_root(30, &exec).finish().code_is(255);
    }
    let exec = [
        "exec",
        "--preserve-fds",
        "5",
        "--cwd",
        "/proc/self/fd/7",
        bundle.id(),
        "ls",
    ];
    with_open_root(7, &bundle.command(&exec))
        .finish()
        .code_is(255)
        .says("outside of container mount namespace root");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_process_that_enters_has_the_standard_streams_and_what_is_passed_on_alone() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    start(&bundle);
    let list = "echo /proc/self/fd/*";
    // The shell's own descriptor on the folder that it lists is the next free one.
    for (preserved, expected) in [("0", "0 1 2 3"), ("2", "0 1 2 3 4 5")] {
        let exec = bundle.command(&["exec", "--preserve-fds", preserved, bundle.id(), "sh", "-c"]);
        let mut bash = Command::new("bash");
        let open: Vec<String> = (3..=30).map(|fd| format!("{fd}</etc/passwd")).collect();
        let line = format!("exec {}; exec {} '{list}'", open.join(" "), shell_words(&exec));
        let output = bash.arg("-c").arg(line).finish().ok();
        assert_eq!(output.replace("/proc/self/fd/", ""), expected);
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}
