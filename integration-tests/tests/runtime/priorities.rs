//! How a process is scheduled, and its resource limits, as the kernel tells them.

use std::{fs, process::Command};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Nice value, real-time priority and policy in /proc/PID/stat.
const SCHEDULED: &str = "-f19,40,41";

fn with_scheduler(scheduler: &Value) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["scheduler"] = scheduler.clone());
    bundle
}

fn cut(bundle: &Bundle, process: &str) -> String {
    let stat = format!("/proc/{process}/stat");
    bundle.exec(&["cut", "-d", " ", SCHEDULED, &stat]).ok()
}

/// What chrt(1) says of the first process, for each thing its last word.
fn chrt(bundle: &Bundle) -> Vec<String> {
    let pid = bundle.state()["pid"].to_string();
    let text = Command::new("chrt").args(["--pid", &pid]).finish().ok();
    let last = |line: &str| line.rsplit(' ').next().map(str::to_owned);
    text.lines().filter_map(last).collect()
}

/// Lets the container have real-time processes, where the kernel asks its cgroup: that cgroup must be one that has a share.
fn allow_real_time(bundle: &Bundle) {
    if fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap_or(false) {
        bundle.edit(|config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id()));
            config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 5000});
        });
    }
}

#[test]
fn a_program_and_who_joins_it_are_scheduled_by_the_policy() {
    let cases = [
        (json!({"policy": "SCHED_OTHER", "nice": 5}), "5 0 0"),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), "-5 0 0"),
        (json!({"policy": "SCHED_BATCH", "nice": 19}), "19 0 3"),
        (json!({"policy": "SCHED_IDLE"}), "0 0 5"),
    ];
    for (scheduler, expected) in cases {
        let bundle = with_scheduler(&scheduler);
        bundle.sleeping();
        assert_eq!(cut(&bundle, "1"), expected, "{scheduler}");
        assert_eq!(cut(&bundle, "self"), expected, "{scheduler}");
    }
}

#[test]
fn an_exec_may_be_scheduled_otherwise() {
    let bundle = with_scheduler(&json!({"policy": "SCHED_BATCH", "nice": 3}));
    bundle.sleeping();
    let process = json!({"args": ["cut", "-d", " ", SCHEDULED, "/proc/self/stat"], "cwd": "/", "env": ["PATH=/bin"],
        "scheduler": {"policy": "SCHED_OTHER", "nice": 11}});
    assert_eq!(bundle.exec_process(&process).ok(), "11 0 0");
    assert_eq!(cut(&bundle, "1"), "3 0 3");
}

#[test]
fn a_program_has_a_real_time_priority_where_its_cgroup_has_a_share() {
    for (policy, expected) in [("SCHED_FIFO", "0 7 1"), ("SCHED_RR", "0 7 2")] {
        let bundle = with_scheduler(&json!({"policy": policy, "priority": 7}));
        if fs::exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").unwrap_or(false) {
            bundle
                .run(&["true"])
                .code_is(1)
                .says(&format!("set scheduler {policy}: operation not permitted"));
        }
        allow_real_time(&bundle);
        bundle.sleeping();
        assert_eq!(cut(&bundle, "1"), expected, "{policy}");
    }
}

#[test]
fn a_program_has_a_deadline() {
    let scheduler =
        json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 5_000_000, "period": 10_000_000});
    let bundle = with_scheduler(&scheduler);
    bundle.sleeping();
    assert_eq!(cut(&bundle, "1"), "0 0 6");
    assert_eq!(chrt(&bundle), ["SCHED_DEADLINE", "0", "1000000/5000000/10000000"]);
}

#[test]
fn flags_say_what_children_get_and_what_stays_as_it_was() {
    let script = format!("cut -d ' ' {SCHEDULED} /proc/$$/stat /proc/self/stat; true");
    let cases = [
        (
            json!({"policy": "SCHED_OTHER", "nice": -5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "-5 0 0\n0 0 0",
        ),
        (
            json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_KEEP_POLICY"]}),
            "5 0 0\n5 0 0",
        ),
        (
            json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_KEEP_PARAMS"]}),
            // The kernel keeps the policy with them.
            "0 0 0\n0 0 0",
        ),
    ];
    for (scheduler, expected) in cases {
        let bundle = with_scheduler(&scheduler);
        assert_eq!(bundle.run(&["sh", "-c", &script]).ok(), expected, "{scheduler}");
    }
}

#[test]
fn a_policy_that_the_kernel_does_not_have_is_named_and_leaves_nothing() {
    let bundle = with_scheduler(&json!({"policy": "SCHED_ISO"}));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("set scheduler SCHED_ISO: invalid argument");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_program_and_who_joins_it_have_the_io_priority() {
    let cases = [
        (json!({"class": "IOPRIO_CLASS_RT", "priority": 3}), "realtime: prio 3"),
        (
            json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
            "best-effort: prio 6",
        ),
        (json!({"class": "IOPRIO_CLASS_IDLE"}), "idle"),
    ];
    for (priority, expected) in cases {
        let bundle = Bundle::new();
        bundle.edit(|config| config["process"]["ioPriority"] = priority.clone());
        bundle.sleeping();
        assert_eq!(bundle.exec(&["ionice", "-p", "1"]).ok(), expected, "{priority}");
        assert_eq!(bundle.exec(&["ionice"]).ok(), expected, "{priority}");
        let process = json!({"args": ["ionice"], "cwd": "/", "env": ["PATH=/bin"],
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}});
        assert_eq!(bundle.exec_process(&process).ok(), "best-effort: prio 1");
    }
}

/// Limits by their names in config.json and in /proc/PID/limits, with sizes that a shell can live with.
const LIMITS: [(&str, &str, u64, u64); 16] = [
    ("RLIMIT_AS", "Max address space", 1 << 30, 1 << 31),
    ("RLIMIT_CORE", "Max core file size", 1, 2),
    ("RLIMIT_CPU", "Max cpu time", 1000, 2000),
    ("RLIMIT_DATA", "Max data size", 1 << 29, 1 << 30),
    ("RLIMIT_FSIZE", "Max file size", 1 << 20, 1 << 21),
    ("RLIMIT_LOCKS", "Max file locks", 11, 12),
    ("RLIMIT_MEMLOCK", "Max locked memory", 4096, 8192),
    ("RLIMIT_MSGQUEUE", "Max msgqueue size", 1000, 2000),
    ("RLIMIT_NICE", "Max nice priority", 21, 22),
    ("RLIMIT_NOFILE", "Max open files", 50, 60),
    ("RLIMIT_NPROC", "Max processes", 500, 600),
    ("RLIMIT_RSS", "Max resident set", 1 << 22, 1 << 23),
    ("RLIMIT_RTPRIO", "Max realtime priority", 3, 4),
    ("RLIMIT_RTTIME", "Max realtime timeout", 5000, 6000),
    ("RLIMIT_SIGPENDING", "Max pending signals", 100, 200),
    ("RLIMIT_STACK", "Max stack size", 1 << 20, 1 << 22),
];

#[test]
fn every_limit_that_the_kernel_has_is_set() {
    let own = fs::read_to_string("/proc/self/limits").expect("/proc is mounted");
    let mut raise = Command::new("prlimit");
    let may_raise = raise
        .args(["--nice=0:0", "prlimit", "--nice=0:1", "true"])
        .finish()
        .code
        == 0;
    let bundle = Bundle::new();
    for (kind, name, soft, hard) in LIMITS {
        let most = limit(&own, name)[1].parse().unwrap_or(u64::MAX);
        if most < hard && !may_raise {
            davit_integration_tests::skipped!(
                "{kind} is {most} here, and without CAP_SYS_RESOURCE nobody can raise it"
            );
            continue;
        }
        bundle.edit(|config| config["process"]["rlimits"] = json!([{"type": kind, "soft": soft, "hard": hard}]));
        let table = bundle.run(&["cat", "/proc/self/limits"]).ok();
        assert_eq!(limit(&table, name), [soft.to_string(), hard.to_string()], "{kind}");
    }
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX}]);
    });
    let table = bundle.run(&["cat", "/proc/self/limits"]).ok();
    assert_eq!(limit(&table, "Max core file size"), ["0", "unlimited"]);
}

fn limit(table: &str, name: &str) -> [String; 2] {
    let line = table.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
    let mut words = line.split_whitespace().map(str::to_owned);
    [(); 2].map(|()| words.next().expect("a number"))
}
