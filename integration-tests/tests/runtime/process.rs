//! What a process is given: CPUs, memory nodes, limits, mask, and what a failed execve says.

use std::{fs, process::Command};

use davit_integration_tests::{Run, program};
use serde_json::{Value, json};

use crate::{Bundle, shell_words};

fn second_cpu_is_missing() -> bool {
    let missing = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2);
    if missing {
        davit_integration_tests::skipped!("this machine has one CPU, and an affinity needs two");
    }
    missing
}

fn kernel_is_before(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (major, minor)
}

#[test]
fn an_exec_runs_on_the_cpus_that_it_is_given() {
    if second_cpu_is_missing() {
        return;
    }
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "1"}));
    bundle.sleeping();
    let own = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let list = |output: String| output.split_whitespace().last().unwrap_or_default().to_owned();
    // The container's first process is not bound by it.
    let first = bundle.runtime(&["exec", bundle.id(), "grep", "Cpus_allowed_list", "/proc/1/status"]);
    assert_ne!(list(first.ok()), "1");
    let exec = bundle.runtime(&["exec", bundle.id(), own[0], own[1], own[2]]);
    assert_eq!(list(exec.ok()), "1");
    // Before Linux 6.2 whoever joins a cgroup may run on all its CPUs.
    let kept = if kernel_is_before(6, 2) { "0-1" } else { "1" };
    for (affinity, expected) in [
        (json!({"initial": "1"}), kept),
        (json!({"initial": "1", "final": "0"}), "0"),
        (json!({"final": "0-1"}), "0-1"),
    ] {
        let process = json!({"args": own, "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity});
        assert_eq!(list(bundle.exec_process(&process).ok()), expected, "{affinity}");
    }
    let bad = json!({"args": own, "cwd": "/", "execCPUAffinity": {"final": "1-0"}});
    bundle
        .exec_process(&bad)
        .code_is(255)
        .says("bad CPUAffinity.Final: invalid range: 1-0");
    let absent = json!({"args": own, "cwd": "/", "execCPUAffinity": {"final": "1000"}});
    bundle.exec_process(&absent).code_is(255).says("final CPU affinity");
}

#[test]
fn the_callers_own_affinity_does_not_reach_a_container() {
    if second_cpu_is_missing() {
        return;
    }
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]));
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let all = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let all = all
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list"))
        .expect("a list");
    let line = format!("taskset -c 0 {}", shell_words(&run));
    assert_eq!(Command::new("sh").args(["-c", &line]).finish().ok(), all);
}

#[test]
fn pages_come_from_the_memory_nodes_of_the_policy() {
    if !fs::exists("/proc/self/numa_maps").unwrap_or(false) {
        davit_integration_tests::skipped!("this kernel has no NUMA policies");
        return;
    }
    let bundle = Bundle::new();
    let script = ["sh", "-c", "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2"];
    let policy = |policy: Value| bundle.edit(|config| config["linux"]["memoryPolicy"] = policy);
    policy(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}));
    assert_eq!(bundle.run(&script).ok(), "interleave:0");
    policy(json!({"mode": "MPOL_DEFAULT"}));
    assert_eq!(bundle.run(&script).ok(), "default");
    for (bad, text) in [
        (json!({}), "invalid memory policy mode"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["x"]}),
            "invalid memory policy flag",
        ),
        (
            json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}),
            "mode requires 0 nodes but got 8",
        ),
        (json!({"mode": "MPOL_BIND", "nodes": "1000"}), "set_mempolicy MPOL_BIND"),
    ] {
        policy(bad);
        bundle.run(&script).code_is(1).says(text);
    }
    policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}));
    bundle.sleeping();
    let exec = bundle
        .runtime(&["exec", bundle.id(), script[0], script[1], script[2]])
        .ok();
    assert_eq!(exec, "bind=static:0");
}

#[test]
fn an_exec_keeps_its_callers_file_mode_mask_unless_the_container_has_one() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let exec = bundle.command(&["exec", bundle.id(), "sh", "-c", "umask"]);
    let exec = shell_words(&exec).replace("-c umask", "-c 'umask'");
    let masked = |line: &str| Command::new("sh").args(["-c", line]).finish().ok();
    assert_eq!(masked(&format!("umask 077; {exec}")), "0077");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| config["process"]["user"]["umask"] = json!(0o27));
    bundle.sleeping();
    assert_eq!(masked(&format!("umask 077; {exec}")), "0027");
}

#[test]
fn a_process_json_is_completed_by_what_the_container_has() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
        config["process"]["user"]["umask"] = json!(0o27);
    });
    bundle.sleeping();
    let bounding = |text: &str| text.lines().find(|line| line.starts_with("CapBnd")).map(str::to_owned);
    let first = bundle.runtime(&["exec", bundle.id(), "cat", "/proc/1/status"]).ok();
    let script = "cat /proc/self/status; ulimit -Sn; umask";
    let process = json!({"args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/"});
    let output = bundle.exec_process(&process).ok();
    assert_eq!(bounding(&output), bounding(&first));
    // The limits are the caller's, as with runc.
    assert!(output.ends_with("\n0027") && !output.contains("\n50\n"), "{output}");
}

#[test]
fn a_program_that_the_kernel_does_not_take_ends_with_255_and_says_why() {
    let bundle = Bundle::new();
    let bin = bundle.rootfs().join("bin");
    program::write(bin.join("damaged"), "\x7fELF and no more");
    program::write(bin.join("orphan"), "#!/no/interpreter\n");
    let cases = [
        ("damaged", "bin/damaged: exec format error"),
        ("orphan", "bin/orphan: no such file or directory"),
    ];
    for (name, text) in cases {
        bundle.run(&[name]).code_is(255).says(text);
        bundle
            .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
            .ok();
        // Only the program's own standard error and exit code tell of it, as with runc.
        bundle.runtime(&["start", bundle.id()]).ok();
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
        assert_eq!(bundle.ids(), Vec::<String>::new());
    }
    bundle.sleeping();
    for (name, text) in cases {
        bundle.runtime(&["exec", bundle.id(), name]).code_is(255).says(text);
    }
}

#[test]
fn a_home_that_no_environment_can_have_is_the_root() {
    let bundle = Bundle::new();
    let passwd = bundle.rootfs().join("etc/passwd");
    fs::write(passwd, "root:x:0:0:root:/ro\0ot:/bin/sh\n").expect("the rootfs is ours");
    assert_eq!(bundle.run(&["sh", "-c", "echo $HOME"]).ok(), "/");
}

#[test]
fn no_signal_is_blocked_or_ignored_in_a_container() {
    let bundle = Bundle::new();
    let script = ["grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status"];
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000000000";
    bundle.edit(|config| config["process"]["args"] = json!(script));
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    // A caller's own habits (nohup, cron, a shell in the background) stay outside.
    let line = format!("trap '' HUP INT TERM PIPE USR1; {}", shell_words(&run));
    assert_eq!(Command::new("sh").args(["-c", &line]).finish().ok(), none);
    bundle.sleeping();
    let exec = bundle.runtime(&["exec", bundle.id(), script[0], script[1], script[2], script[3]]);
    assert_eq!(exec.ok(), none);
}

#[test]
fn impossible_limits_and_priorities_are_refused_before_anything_is_made() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 6] = [
        (
            |process| process["rlimits"] = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
            "wrong rlimit value: RLIMIT_X",
        ),
        (
            |process| process["scheduler"] = json!({"policy": "SCHED_NONE"}),
            "invalid scheduler policy: SCHED_NONE",
        ),
        (
            |process| process["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 20}),
            "invalid scheduler.nice: 20 when scheduler.policy is SCHED_BATCH",
        ),
        (
            |process| process["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8}),
            "invalid ioPriority.Priority: 8",
        ),
        (
            |process| process["env"] = json!(["NAME"]),
            "invalid environment variable: missing '='",
        ),
        (
            |process| process["env"] = json!(["=x"]),
            "invalid environment variable: name cannot be empty",
        ),
    ];
    for (edit, text) in cases {
        let bundle = Bundle::new();
        bundle.edit(|config| edit(&mut config["process"]));
        bundle.run_as_is().code_is(1).says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn personality_flags_are_ignored_with_a_warning() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32", "flags": ["SOME"]}));
    let finished = bundle.run(&["uname", "-m"]);
    assert!(
        finished
            .stderr
            .contains("ignoring unsupported personality flags: [SOME]"),
        "{finished:?}"
    );
    let machine = finished.ok();
    assert_ne!(machine, "x86_64");
    bundle.sleeping();
    assert_eq!(bundle.exec(&["uname", "-m"]).stdout.trim(), machine);
}

#[test]
fn an_selinux_label_is_refused_where_nobody_enforces_it() {
    if fs::exists("/sys/fs/selinux/enforce").unwrap_or(false) {
        davit_integration_tests::skipped!("SELinux is enabled here");
        return;
    }
    let text = "selinux label is specified in config, but selinux is disabled or not supported";
    let bundle = Bundle::new();
    bundle.sleeping();
    bundle
        .runtime(&[
            "exec",
            "--process-label",
            "system_u:system_r:container_t:s0",
            bundle.id(),
            "true",
        ])
        .code_is(255)
        .says(text);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0"));
    bundle.run(&["true"]).code_is(1).says(text);
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn a_share_of_the_caches_is_refused_where_none_can_be_had() {
    if fs::exists("/sys/fs/resctrl/schemata").unwrap_or(false) {
        davit_integration_tests::skipped!("this machine has Intel RDT");
        return;
    }
    let bundle = Bundle::new();
    bundle.sleeping();
    for (flag, text) in [
        (
            "--l3-cache-schema=L3:0=f",
            "Intel RDT/CAT: l3 cache schema is not enabled",
        ),
        (
            "--mem-bw-schema=MB:0=10",
            "Intel RDT/MBA: memory bandwidth schema is not enabled",
        ),
    ] {
        bundle.runtime(&["update", flag, bundle.id()]).code_is(1).says(text);
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| config["linux"]["intelRdt"] = json!({"schemata": ["L3:0=f"]}));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("intelRdt is specified in config, but Intel RDT is not enabled");
    assert_eq!(bundle.ids(), Vec::<String>::new());
}
