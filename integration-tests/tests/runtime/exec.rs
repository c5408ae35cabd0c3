//! What the options of `exec` do to the process that enters.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use crate::{bundle::Bundle, shell_words, update::v2_alone};

/// Runs a program with options of `exec`.
fn exec(bundle: &Bundle, options: &[&str], program: &[&str]) -> davit_integration_tests::Finished {
    bundle.runtime(&[&["exec"], options, &[bundle.id()], program].concat())
}

/// A line of the program's own /proc/self/status.
fn own(bundle: &Bundle, options: &[&str], field: &str) -> String {
    let line = exec(bundle, options, &["grep", &format!("^{field}:"), "/proc/self/status"]).ok();
    line.split_whitespace().last().unwrap_or_default().to_owned()
}

#[test]
fn a_process_may_gain_privileges_as_the_flag_says_and_else_as_the_container() {
    for (container, plain) in [(true, "1"), (false, "0")] {
        let bundle = Bundle::new();
        bundle.edit(|config| config["process"]["noNewPrivileges"] = json!(container));
        bundle.sleeping();
        assert_eq!(own(&bundle, &[], "NoNewPrivs"), plain);
        for flag in ["--no-new-privs", "--no-new-privs=true", "-no-new-privs=1"] {
            assert_eq!(own(&bundle, &[flag], "NoNewPrivs"), "1", "{flag}");
        }
        assert_eq!(own(&bundle, &["--no-new-privs=false"], "NoNewPrivs"), "0");
        exec(&bundle, &["--no-new-privs=perhaps"], &["true"])
            .code_is(1)
            .says("for flag -no-new-privs");
    }
}

#[test]
fn an_added_capability_lets_a_process_do_what_it_could_not() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let rename = ["sh", "-c", "hostname renamed && hostname"];
    exec(&bundle, &[], &rename).code_is(1).says("Operation not permitted");
    let granted = exec(&bundle, &["--cap", "CAP_SYS_ADMIN", "-c", "CAP_CHOWN"], &rename);
    assert_eq!(granted.ok(), "renamed");
    exec(&bundle, &["--cap", "CAP_NOT_INVENTED_YET"], &["true"])
        .code_is(0)
        .says("ignoring unknown or unavailable capabilities: [CAP_NOT_INVENTED_YET]");
}

#[test]
fn an_added_capability_is_ambient_where_the_container_has_inheritable_ones() {
    let bundle = Bundle::new();
    let sets = ["bounding", "effective", "permitted", "inheritable"];
    bundle.edit(|config| {
        config["process"]["capabilities"] = json!({});
        sets.iter()
            .for_each(|set| config["process"]["capabilities"][*set] = json!(["CAP_CHOWN", "CAP_KILL"]));
    });
    fs::write(bundle.rootfs().join("file"), "").expect("the rootfs is ours");
    bundle.sleeping();
    let chown = ["sh", "-c", "chown 5 /file && stat -c %u /file"];
    let user = ["--user", "1000:1000"];
    exec(&bundle, &user, &chown).code_is(1).says("Operation not permitted");
    let with = [&user[..], &["--cap", "CAP_CHOWN"]].concat();
    assert_eq!(own(&bundle, &with, "CapAmb"), "0000000000000001");
    assert_eq!(exec(&bundle, &with, &chown).ok(), "5");
    // Of those that it has itself a process.json makes others ambient.
    let mut process = json!({"args": ["grep", "^CapAmb:", "/proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 1000, "gid": 1000}, "capabilities": {"ambient": ["CAP_KILL"]}});
    sets.iter()
        .for_each(|set| process["capabilities"][*set] = json!(["CAP_KILL"]));
    assert_eq!(bundle.exec_process(&process).ok(), "CapAmb:\t0000000000000020");
}

#[test]
fn a_process_enters_a_paused_container_on_request_and_waits() {
    let bundle = Bundle::new();
    bundle.sleeping();
    bundle.runtime(&["pause", bundle.id()]).ok();
    exec(&bundle, &[], &["true"]).code_is(255).says("use --ignore-paused");
    let mut command = bundle.command(&["exec", "--ignore-paused", bundle.id(), "echo", "thawed"]);
    let waiting = command.stdout(Stdio::piped()).spawn().expect("the runtime is built");
    wait::until_true("the process is in the container", 10, || {
        let pids = bundle.runtime(&["ps", "--format", "json", bundle.id()]).ok();
        pids.split(',').count() == 2
    });
    assert_eq!(bundle.state()["status"], "paused");
    bundle.runtime(&["resume", bundle.id()]).ok();
    let output = waiting.wait_with_output().expect("it is ours");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "thawed\n");
    assert!(output.status.success());
}

#[test]
fn a_terminal_in_the_foreground_is_as_large_as_the_callers_and_ends_with_the_programs_code() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let program = bundle.command(&["exec", "--tty", bundle.id(), "sh", "/script"]);
    let script = "tty; stty size; test -t 0 -a -t 1 -a -t 2 && echo terminal; exit 3";
    fs::write(bundle.rootfs().join("script"), script).expect("the rootfs is ours");
    let line = format!("stty rows 33 cols 77; {}", shell_words(&program));
    let finished = Command::new("script").args(["-qec", &line, "/dev/null"]).finish();
    let shown = finished.code_is(3).stdout.replace("^@", "").replace("\x08", "");
    assert!(shown.contains("/dev/pts/0\r\n33 77\r\nterminal\r\n"), "{shown:?}");
}

/// Makes a cgroup below the container's in each hierarchy, as whoever runs programs in it does.
fn divide(bundle: &Bundle) {
    for top in bundle.cgroups().iter().map(PathBuf::from) {
        let below = top.join("below");
        fs::create_dir(&below).expect("root may");
        // On v1 a cpuset is empty at first, and takes no processes.
        for file in ["cpuset.cpus", "cpuset.mems"].map(Path::new) {
            if below.join(file).exists() {
                fs::copy(top.join(file), below.join(file)).expect("root may");
            }
        }
    }
}

#[test]
fn a_process_lands_in_the_cgroup_below_the_containers_that_is_named() {
    let bundle = Bundle::new();
    bundle.sleeping();
    divide(&bundle);
    let places = |options: &[&str]| exec(&bundle, options, &["cat", "/proc/self/cgroup"]).ok();
    let in_all = places(&["--cgroup", "below"]);
    let own = bundle.cgroups().len();
    assert_eq!(
        in_all.lines().filter(|line| line.ends_with(":/below")).count(),
        own,
        "{in_all}"
    );
    assert!(!places(&[]).contains("below"));
    if v2_alone() {
        davit_integration_tests::skipped!("this machine has no v1 hierarchies, of which some could be named");
        return;
    }
    let in_some = places(&["--cgroup", "pids,memory:below", "--cgroup", "freezer:/below"]);
    for line in in_some.lines() {
        let named = ["pids", "memory", "freezer"]
            .iter()
            .any(|name| line.contains(&format!(":{name}:")));
        assert_eq!(line.ends_with(":/below"), named, "{line}");
    }
    exec(&bundle, &["--cgroup", "nothing:below"], &["true"])
        .code_is(255)
        .says("unknown controller nothing");
}

#[test]
fn who_enters_has_the_containers_limits_or_those_of_its_own_process() {
    let bundle = Bundle::new();
    let limit = |number: u32| json!([{"type": "RLIMIT_NOFILE", "soft": number, "hard": number}]);
    bundle.edit(|config| {
        config["process"]["rlimits"] = limit(512);
        config["process"]["oomScoreAdj"] = json!(300);
    });
    bundle.sleeping();
    let ask = ["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj"];
    assert_eq!(exec(&bundle, &[], &ask).ok(), "512\n300");
    let process = json!({"args": ask, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
        "rlimits": limit(256), "oomScoreAdj": 400});
    assert_eq!(bundle.exec_process(&process).ok(), "256\n400");
}
