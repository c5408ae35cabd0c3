//! `events`: statistics, and processes that are killed for want of memory.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use davit_integration_tests::{Run, wait};
use serde_json::{Value, json};

use crate::{bundle::Bundle, update::v2_alone};

fn running(args: &[&str], resources: Value) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["args"] = json!(args);
        config["linux"]["resources"] = resources;
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
    bundle
}

#[test]
fn statistics_have_the_fields_that_readers_look_for() {
    let bundle = running(&["sleep", "600"], json!({"pids": {"limit": 30}}));
    let line = bundle.runtime(&["events", "--stats", bundle.id()]).ok();
    let event: Value = serde_json::from_str(&line).expect("one line of JSON");
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(bundle.id())));
    let data = &event["data"];
    for field in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(data[field].is_object(), "{field}: {line}");
    }
    assert!(data["network_interfaces"].is_null());
    assert!(data["cpu"]["usage"]["total"].as_u64() > Some(0), "{line}");
    assert!(data["memory"]["usage"]["usage"].as_u64() > Some(0), "{line}");
    assert_eq!(data["pids"], json!({"current": 1, "limit": 30}));
}

#[test]
fn waiting_for_resources_is_told_where_the_kernel_measures_it() {
    const BUSY: &str = "while true; do true; done";
    let is_measured = v2_alone() && Path::new("/proc/pressure/cpu").exists();
    let bundle = running(&["sleep", "600"], json!({}));
    let stats = || -> Value {
        let line = bundle.runtime(&["events", "--stats", bundle.id()]).ok();
        serde_json::from_str(&line).expect("one line of JSON")
    };
    if !is_measured {
        let data = stats()["data"].clone();
        assert!(
            ["cpu", "memory", "blkio"]
                .iter()
                .all(|name| data[*name]["psi"].is_null())
        );
        davit_integration_tests::skipped!(
            "only cgroup v2 measures pressure, and here it does not (v1 hierarchies, or psi=0)"
        );
        return;
    }
    // More of them than there are processors.
    for _ in 0..8 {
        let busy = ["exec", "--detach", bundle.id(), "sh", "-c", BUSY];
        bundle.runtime(&busy).ok();
    }
    wait::until_true("somebody has waited for the processor", 20, || {
        stats()["data"]["cpu"]["psi"]["some"]["total"].as_u64() > Some(0)
    });
    let data = stats()["data"].clone();
    for name in ["cpu", "memory", "blkio"] {
        for kind in ["some", "full"] {
            for field in ["avg10", "avg60", "avg300", "total"] {
                assert!(
                    data[name]["psi"][kind][field].is_number(),
                    "{name} {kind} {field}: {data}"
                );
            }
        }
    }
}

#[test]
fn lines_come_at_the_interval_until_the_container_ends() {
    let bundle = running(&["sleep", "600"], json!({}));
    let mut child = bundle
        .command(&["events", "--interval", "0.05s", bundle.id()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runtime is built");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    for _ in 0..3 {
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains(r#""type":"stats""#), "{line}");
    }
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    let rest = lines.map_while(Result::ok).count();
    assert!(child.wait().expect("it ends").success(), "after {rest} more lines");
}

#[test]
fn a_process_that_is_killed_for_want_of_memory_is_reported_before_the_end() {
    let script = "read go < /fifo; x=$(head -c 60000000 /dev/zero | tr '\\0' x); echo ${#x}";
    let bundle = Bundle::new();
    let fifo = bundle.rootfs().join("fifo");
    Command::new("mkfifo").arg(&fifo).finish().ok();
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"] = json!({"memory": {"limit": 16777216, "swap": 16777216}});
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
    let mut child = bundle
        .command(&["events", "--interval", "50ms", bundle.id()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the runtime is built");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    // It watches as soon as it has shown something.
    lines.next().expect("a line").expect("text");
    std::fs::write(&fifo, "go\n").expect("somebody reads");
    let oom = lines.map_while(Result::ok).any(|line| line.contains(r#""type":"oom""#));
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    assert!(oom);
}

#[test]
fn a_duration_that_is_none_is_refused() {
    let bundle = running(&["sleep", "600"], json!({}));
    for interval in ["0s", "-1s"] {
        bundle
            .runtime(&["events", &format!("--interval={interval}"), bundle.id()])
            .code_is(1)
            .says("duration interval must be greater than 0");
    }
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("it has stopped", 10, || bundle.state()["status"] == "stopped");
    bundle
        .runtime(&["events", "--stats", bundle.id()])
        .code_is(1)
        .says("is not running");
}
