//! Time namespaces: clocks that are ahead or behind.

use std::fs;

use serde_json::{Value, json};

use super::bundle::Bundle;

fn with_time(path: &str, offsets: Value) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "time", "path": path}));
        config["linux"]["timeOffsets"] = offsets;
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    bundle
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn the_containers_clocks_are_ahead_in_exec_and_in_who_joins_them_but_not_outside() {
    if fs::metadata("/proc/self/timens_offsets").is_err() {
        davit_integration_tests::skipped!("this kernel has no time namespaces (CONFIG_TIME_NS)");
        return;
    }
    let offsets = json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": 1_000_000}});
    let bundle = with_time("", offsets);
    let hook = bundle.file("hook");
    bundle.edit(|config| {
        // A child of the runtime is not the container's.
        let script = format!("readlink /proc/self/ns/time > {hook}");
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    let run = ["run", "--detach", "--bundle"];
    bundle
        .runtime(&[&run[..], &[&bundle.path(), bundle.id()]].concat())
        .ok();
    let own = fs::read_link("/proc/self/ns/time").expect("time namespaces");
    let of_hook = fs::read_to_string(&hook).expect("the hook ran");
    assert_eq!(of_hook.trim_end(), own.to_str().expect("text"));

    let shown = bundle
        .runtime(&["exec", bundle.id(), "cat", "/proc/self/timens_offsets", "/proc/uptime"])
        .ok();
    let shown = words(&shown);
    assert_eq!(shown[..6], ["monotonic", "7881", "2718281", "boottime", "1000000", "0"]);
    let uptime: f64 = shown[6].parse().expect("seconds");
    assert!(uptime > 1_000_000.0, "{uptime}");

    let path = format!("/proc/{}/ns/time", bundle.state()["pid"]);
    let guest = with_time(&path, Value::Null);
    let joined = guest.run(&["readlink", "/proc/self/ns/time"]).ok();
    let theirs = fs::read_link(&path).expect("it runs");
    assert_eq!(joined.trim_end(), theirs.to_str().expect("text"));
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn clocks_are_ahead_in_a_user_namespace_too() {
    if fs::metadata("/proc/self/timens_offsets").is_err() {
        davit_integration_tests::skipped!("this kernel has no time namespaces (CONFIG_TIME_NS)");
        return;
    }
    let bundle = with_time(
        "",
        json!({"monotonic": {"secs": 7881}, "boottime": {"secs": 1_000_000}}),
    );
    super::user_namespaces::map_ids(&bundle);
    bundle.sleeping();
    let shown = bundle.exec(&["cat", "/proc/self/timens_offsets", "/proc/uptime"]).ok();
    let shown = words(&shown);
    assert_eq!(shown[..6], ["monotonic", "7881", "0", "boottime", "1000000", "0"]);
    assert!(shown[6].parse::<f64>().expect("seconds") > 1_000_000.0, "{}", shown[6]);
}

#[test]
fn offsets_that_cannot_be_are_refused_and_leave_nothing() {
    // A clock would show a time before the machine's boot.
    let bundle = with_time("", json!({"monotonic": {"secs": -4_000_000_000_i64}}));
    bundle
        .run_as_is()
        .code_is(1)
        .says("time offsets")
        .says("monotonic -4000000000");
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
    for (offsets, problem) in [
        (json!({"tai": {"secs": 1}}), "tai"),
        (json!({"boottime": {"nanosecs": 1_000_000_000}}), "less than a second"),
    ] {
        with_time("", offsets).run_as_is().code_is(1).says(problem);
    }
    let lonely = Bundle::new();
    lonely.edit(|config| config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}}));
    lonely.run(&["true"]).code_is(1).says("time namespace isn't enabled");
}
