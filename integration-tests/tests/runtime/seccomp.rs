//! Filters that ask an agent, and how a filter meets the program's privileges.

use std::{
    fs,
    os::{fd::AsRawFd, unix::net::UnixListener},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::libc;
use serde_json::{Value, json};

use crate::{Bundle, descriptors::receive};

/// What an agent was told, and by what descriptor it could have answered.
pub struct Told {
    pub state: Value,
    pub link: String,
}

/// An agent that takes one listener and closes it at once: the kernel then answers ENOSYS in its stead.
pub fn agent(bundle: &Bundle) -> JoinHandle<Told> {
    let path = bundle.file("agent.sock");
    let _ = fs::remove_file(&path);
    let socket = UnixListener::bind(path).expect("the bundle is ours");
    thread::spawn(move || {
        let (text, listener) = receive(&socket);
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).expect("an open descriptor");
        Told {
            state: serde_json::from_slice(&text).expect("JSON"),
            link: link.display().to_string(),
        }
    })
}

/// Gives the container a filter that asks the agent about calls.
pub fn asks_about(bundle: &Bundle, names: Value, no_new_privileges: bool) {
    let path = bundle.file("agent.sock");
    bundle.edit(|config| {
        config["annotations"] = json!({"note": "kept"});
        config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "bar",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
        });
    });
}

#[test]
fn an_agent_gets_the_listener_and_the_state_of_a_new_container() {
    let bundle = Bundle::new();
    for no_new_privileges in [false, true] {
        asks_about(&bundle, json!(["mkdir", "mkdirat"]), no_new_privileges);
        let agent = agent(&bundle);
        let finished = bundle.run(&["mkdir", "/tmp/x"]);
        finished.code_is(1).says("Function not implemented");
        let told = agent.join().expect("the agent");
        assert_eq!(told.link, "anon_inode:seccomp notify");
        let state = &told.state;
        assert_eq!(
            [&state["fds"], &state["metadata"], &state["state"]["status"]],
            [&json!(["seccompFd"]), &json!("bar"), &json!("creating")]
        );
        assert_eq!(state["state"]["id"], json!(bundle.id()));
        assert_eq!(state["state"]["annotations"], json!({"note": "kept"}));
        assert_eq!(state["state"]["bundle"], json!(bundle.path()));
        assert!(state["pid"].as_i64().is_some_and(|pid| pid > 0));
        assert_eq!(state["pid"], state["state"]["pid"]);
    }
}

#[test]
fn an_agent_is_told_by_create_and_again_by_exec() {
    let bundle = Bundle::new();
    asks_about(&bundle, json!(["mkdir", "mkdirat"]), false);
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    let first = agent(&bundle);
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let first = first.join().expect("the agent").state;
    assert_eq!(first["pid"], bundle.state()["pid"]);
    bundle.runtime(&["start", bundle.id()]).ok();
    let second = agent(&bundle);
    let exec = bundle.runtime(&["exec", bundle.id(), "mkdir", "/tmp/x"]);
    exec.code_is(1).says("Function not implemented");
    let second = second.join().expect("the agent").state;
    assert_eq!(second["state"]["status"], json!("running"));
    assert_eq!(second["state"]["pid"], first["pid"]);
    assert_ne!(second["pid"], first["pid"]);
}

#[test]
fn the_runtime_makes_no_call_that_an_absent_agent_would_have_to_answer() {
    let bundle = Bundle::new();
    // All that the runtime itself does after the filter is in force, write excepted.
    asks_about(
        &bundle,
        json!([
            "sendmsg",
            "recvmsg",
            "close",
            "fcntl",
            "dup",
            "prctl",
            "getpid",
            "pidfd_getfd"
        ]),
        false,
    );
    let agent = agent(&bundle);
    let finished = bundle.run(&["echo", "went on"]);
    assert_eq!(finished.stdout, "went on\n", "{finished:?}");
    agent.join().expect("the agent");
}

#[test]
fn what_no_agent_could_answer_is_refused_and_leaves_nothing() {
    let bundle = Bundle::new();
    let refused = |text: &str| {
        bundle.run(&["true"]).code_is(1).says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    };
    asks_about(&bundle, json!(["write"]), false);
    refused("SCMP_ACT_NOTIFY cannot be used for the write syscall");
    asks_about(&bundle, json!(["mkdir"]), false);
    refused("failed to connect with seccomp agent specified in the seccomp profile");
    bundle.edit(|config| config["linux"]["seccomp"]["listenerPath"] = json!("@davit-nobody-listens-here"));
    refused("failed to connect with seccomp agent specified in the seccomp profile");
    bundle.edit(|config| config["linux"]["seccomp"]["listenerPath"] = json!(""));
    refused("seccomp listenerPath is not set");
    bundle.edit(|config| config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY"));
    refused("SCMP_ACT_NOTIFY cannot be used as default action");
    // Nobody is asked: nobody needs to listen.
    bundle.edit(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/agent.sock"});
    });
    bundle.run(&["true"]).ok();
}

#[test]
fn an_agent_that_never_accepts_does_not_keep_a_creation_for_ever() {
    let bundle = Bundle::new();
    asks_about(&bundle, json!(["mkdir", "mkdirat"]), false);
    // More than is sent to somebody who does not read it.
    bundle.edit(|config| config["annotations"] = json!({"large": "x".repeat(1_000_000)}));
    let _agent = UnixListener::bind(bundle.file("agent.sock")).expect("the bundle is ours");
    let begun = Instant::now();
    let create = bundle.create_as(bundle.id()).code_is(1);
    create.says("cannot send seccomp fd").says("timed out");
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_filter_binds_a_user_without_privileges_whether_it_may_gain_some_or_not() {
    let bundle = Bundle::new();
    for no_new_privileges in [false, true] {
        bundle.edit(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["capabilities"] = json!({});
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
                    {"names": ["capset", "setgroups", "setresuid", "setresgid"], "action": "SCMP_ACT_KILL"},
                ],
            });
        });
        // What the runtime needs to become that user is done before the filter binds it.
        let script = "mkdir /tmp/x 2>&1; grep -E '^(Seccomp|CapEff|NoNewPrivs):' /proc/self/status";
        let output = bundle.run(&["sh", "-c", script]).ok();
        let expected = format!(
            "CapEff:\t0000000000000000\nNoNewPrivs:\t{}\nSeccomp:\t2",
            i32::from(no_new_privileges)
        );
        assert!(output.ends_with(&expected), "{output}");
        assert!(output.contains("not supported"), "{output}");
    }
}

/// Makes one call of the kernel and tells its error.
const ASK: &str = r#"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    errno = 0;
    long result = syscall(atol(words[1]), 0, 0, 0);
    printf("%d\n", result < 0 ? errno : 0);
    return 0;
}
"#;

#[test]
fn the_kernel_does_what_an_action_says() {
    let bundle = Bundle::new();
    bundle.compile("ask", ASK);
    for (action, code, said) in [
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 5}), 0, "5\n"),
        (json!({"action": "SCMP_ACT_ERRNO"}), 0, "1\n"),
        (json!({"action": "SCMP_ACT_LOG"}), 0, "0\n"),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), 128 + 31, ""),
        (json!({"action": "SCMP_ACT_KILL_THREAD"}), 128 + 31, ""),
        (json!({"action": "SCMP_ACT_TRAP"}), 128 + 31, ""),
        // Without a tracer there is no such call.
        (json!({"action": "SCMP_ACT_TRACE", "errnoRet": 5}), 0, "38\n"),
    ] {
        bundle.edit(|config| {
            let mut rule = action.clone();
            rule["names"] = json!(["getppid"]);
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
        });
        // Nobody but the program above makes it.
        let finished = bundle.run(&["ask", &libc::SYS_getppid.to_string()]).code_is(code);
        assert_eq!(finished.stdout, said, "{action}");
    }
}

/// A C library that tries a newer call first must hear that there is none, not that it is forbidden.
#[test]
fn a_call_that_is_newer_than_the_profile_is_unknown_and_not_forbidden() {
    let bundle = Bundle::new();
    bundle.compile("ask", ASK);
    bundle.edit(|config| {
        let names = [
            "execve",
            "brk",
            "arch_prctl",
            "set_tid_address",
            "set_robust_list",
            "rseq",
            "prlimit64",
            "readlink",
            "readlinkat",
            "getrandom",
            "mprotect",
            "newfstatat",
            "fstat",
            "write",
            "exit_group",
            "mmap",
            "munmap",
            "close",
            "read",
            "access",
            "openat",
            "fcntl",
            "futex",
            "rt_sigaction",
            "rt_sigprocmask",
            "prctl",
            "capset",
            "capget",
            "setuid",
            "setgid",
            "setgroups",
            "chdir",
            "fchdir",
            "getppid",
            "ioctl",
            "uname",
            "statx",
            "clock_gettime",
            "sigaltstack",
            "getpid",
            "gettid",
            "getuid",
            "geteuid",
        ];
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "syscalls": [{"names": names.to_vec(), "action": "SCMP_ACT_ALLOW"}]});
    });
    // sync(2) is older than the newest that the profile names, 9999 is younger than all.
    for (number, said) in [(libc::SYS_getppid, "0\n"), (libc::SYS_sync, "1\n"), (9999, "38\n")] {
        let finished = bundle.run(&["ask", &number.to_string()]).code_is(0);
        assert_eq!(finished.stdout, said, "{number}");
    }
}
