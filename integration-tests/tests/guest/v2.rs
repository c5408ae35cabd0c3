//! Pure cgroup v2: what the container sees of its limits, and what the kernel does with them.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use davit_integration_tests::wait;
use serde_json::{Value, json};

use crate::bundle::{Bundle, without_namespace};

/// The container's cgroup, as the host sees it.
fn folder(bundle: &Bundle) -> PathBuf {
    PathBuf::from(bundle.cgroups().pop().expect("the container has a cgroup"))
}

fn file(bundle: &Bundle, name: &str) -> String {
    let path = folder(bundle).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

fn sleeping(bundle: &Bundle, resources: Value) {
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["resources"] = resources;
    });
    let path = bundle.path();
    bundle
        .runtime(&["run", "--detach", "--bundle", &path, bundle.id()])
        .ok();
}

fn inside(bundle: &Bundle, script: &str) -> String {
    bundle.runtime(&["exec", bundle.id(), "sh", "-c", script]).ok()
}

#[test]
fn limits_are_seen_in_the_container() {
    let bundle = Bundle::new();
    let disk = disk();
    sleeping(
        &bundle,
        json!({
            "cpu": {"shares": 2048, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"},
            "memory": {"limit": 67_108_864, "swap": 100_663_296, "reservation": 33_554_432},
            "pids": {"limit": 33},
            "blockIO": {"throttleReadBpsDevice": [{"major": disk.0, "minor": disk.1, "rate": 1_048_576}],
                        "throttleWriteIOPSDevice": [{"major": disk.0, "minor": disk.1, "rate": 120}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}],
        }),
    );
    let expected = [
        ("cpu.max", "50000 100000".to_owned()),
        ("cpuset.cpus", "0".to_owned()),
        ("cpuset.mems", "0".to_owned()),
        ("memory.max", "67108864".to_owned()),
        ("memory.swap.max", "33554432".to_owned()),
        ("memory.low", "33554432".to_owned()),
        ("pids.max", "33".to_owned()),
        (
            "io.max",
            format!("{}:{} rbps=1048576 wbps=max riops=max wiops=120", disk.0, disk.1),
        ),
        ("hugetlb.2MB.max", "4194304".to_owned()),
        ("hugetlb.2MB.rsvd.max", "4194304".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(inside(&bundle, &format!("cat /sys/fs/cgroup/{name}")), value, "{name}");
    }
    // 1024 shares are a weight of 100, so twice as many are more, and less than the most.
    let weight: u64 = file(&bundle, "cpu.weight").parse().expect("a number");
    assert!((101..10_000).contains(&weight), "{weight}");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

/// The disk of the root file system. A disk, not a partition: only those can be throttled.
fn disk() -> (u64, u64) {
    let text = fs::read_to_string("/sys/block/vda/dev").expect("the machine's disk");
    let (major, minor) = text.trim().split_once(':').expect("major:minor");
    (major.parse().expect("a number"), minor.parse().expect("a number"))
}

#[test]
fn an_update_reaches_the_kernel() {
    let bundle = Bundle::new();
    sleeping(
        &bundle,
        json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 20}, "cpu": {"quota": 50_000, "period": 100_000}}),
    );
    let update = |flags: &[&str]| {
        let arguments: Vec<&str> = ["update"].iter().chain(flags).copied().chain([bundle.id()]).collect();
        bundle.runtime(&arguments).ok();
    };
    update(&[
        "--memory",
        "33554432",
        "--memory-swap",
        "50331648",
        "--pids-limit",
        "-1",
    ]);
    update(&["--cpu-quota", "-1", "--cpuset-cpus", "1"]);
    let expected = [
        ("memory.max", "33554432"),
        ("memory.swap.max", "16777216"),
        ("pids.max", "max"),
        ("cpu.max", "max 100000"),
        ("cpuset.cpus", "1"),
    ];
    for (name, value) in expected {
        assert_eq!(file(&bundle, name), value, "{name}");
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_unified_key_is_written_and_one_with_a_slash_is_refused() {
    let bundle = Bundle::new();
    sleeping(
        &bundle,
        json!({"unified": {"memory.high": "50331648", "pids.max": "44"}}),
    );
    assert_eq!(file(&bundle, "memory.high"), "50331648");
    assert_eq!(file(&bundle, "pids.max"), "44");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();

    for key in ["../../cgroup.procs", "sub/pids.max", ".."] {
        bundle.edit(|config| config["linux"]["resources"] = json!({"unified": {key: "0"}}));
        bundle.run(&["true"]).code_is(1).says(key);
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    }
}

#[test]
fn devices_are_guarded_by_a_program_in_the_kernel() {
    let bundle = Bundle::new();
    let rule = |allow: bool| json!({"allow": allow, "type": "c", "major": 10, "minor": 229, "access": "rw"});
    let refused = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let allowed = json!({"devices": [{"allow": false, "access": "rwm"}, rule(true)]});
    bundle.edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
    });
    // /dev/fuse: anybody may open it. A device of a container's own (null) can be made and used in any case.
    let script = "mknod /tmp/null c 1 3 && echo >/tmp/null && mknod /tmp/fuse c 10 229 && exec 3</tmp/fuse";
    bundle.edit(|config| config["linux"]["resources"] = refused);
    bundle
        .run(&["sh", "-c", script])
        .code_is(1)
        .says("can't open /tmp/fuse: Operation not permitted");
    bundle.edit(|config| config["linux"]["resources"] = allowed);
    bundle.run(&["sh", "-c", "exec 3</tmp/fuse"]).ok();
}

#[test]
fn a_paused_container_is_frozen_and_can_be_killed() {
    let bundle = Bundle::new();
    sleeping(&bundle, json!({}));
    bundle.runtime(&["pause", bundle.id()]).ok();
    assert_eq!(file(&bundle, "cgroup.freeze"), "1");
    assert!(file(&bundle, "cgroup.events").contains("frozen 1"));
    assert_eq!(bundle.state()["status"], "paused");
    bundle.runtime(&["resume", bundle.id()]).ok();
    assert_eq!(file(&bundle, "cgroup.freeze"), "0");
    bundle.runtime(&["pause", bundle.id()]).ok();
    // A signal that ends a process ends a frozen one too, on v2.
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("the container is stopped", 10, || bundle.state()["status"] == "stopped");
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn all_processes_end_with_a_container_that_shares_the_hosts() {
    let bundle = Bundle::new();
    bundle.edit(|config| without_namespace(config, "pid"));
    sleeping(&bundle, json!({}));
    inside(&bundle, "for i in 1 2 3; do sleep 600 >/dev/null 2>&1 & done");
    let count = || file(&bundle, "cgroup.procs").lines().count();
    assert_eq!(count(), 4);
    bundle.runtime(&["kill", "--all", bundle.id(), "KILL"]).ok();
    wait::until_true("no process is left", 10, || count() == 0);
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

/// Below a cgroup with processes there is no other kind that can be limited; neither `cgroup.procs` nor `cgroup.kill` can be used there.
#[test]
fn a_container_in_a_threaded_cgroup_can_be_listed_and_killed() {
    let bundle = Bundle::new();
    let parent = PathBuf::from(format!("/sys/fs/cgroup/{}", bundle.id()));
    fs::create_dir_all(parent.join("below")).expect("cgroups can be made");
    fs::write(parent.join("below/cgroup.type"), "threaded").expect("it is empty");
    let mut neighbour = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    fs::write(parent.join("cgroup.procs"), neighbour.id().to_string()).expect("the process can be moved");
    bundle.edit(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{}/below", bundle.id()));
        without_namespace(config, "pid");
    });
    sleeping(&bundle, json!({}));
    inside(&bundle, "sleep 600 >/dev/null 2>&1 &");
    let list = bundle.runtime(&["ps", "--format", "json", bundle.id()]).ok();
    let pids: Vec<u32> = serde_json::from_str(&list).expect("JSON");
    assert_eq!(pids.len(), 2, "{list}");
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("no process is left", 10, || {
        fs::read_to_string(parent.join("below/cgroup.threads")).is_ok_and(|threads| threads.is_empty())
    });
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert!(!parent.join("below").exists());
    neighbour.kill().expect("the child is ours");
    neighbour.wait().expect("the child is ours");
    fs::remove_dir(&parent).expect("nobody is in it");
}

#[test]
fn cgroups_that_the_container_makes_are_its_own_and_go_with_it() {
    let bundle = Bundle::new();
    bundle.edit(writable_cgroup);
    sleeping(&bundle, json!({"pids": {"limit": 50}}));
    inside(
        &bundle,
        "cd /sys/fs/cgroup && mkdir all && for p in $(cat cgroup.procs); do echo $p >all/cgroup.procs; done; \
         echo +pids >cgroup.subtree_control && mkdir sub && echo 5 >sub/pids.max && mkdir sub/below",
    );
    assert_eq!(file(&bundle, "sub/pids.max"), "5");
    bundle
        .runtime(&["exec", "--cgroup", "sub/below", bundle.id(), "cat", "/proc/self/cgroup"])
        .ok();
    bundle
        .runtime(&["exec", "--cgroup", "../..", bundle.id(), "true"])
        .code_is(255)
        .says("cgroup");
    // The container's own cgroup has handed its processes down: exec goes where init is.
    let own = inside(&bundle, "cat /proc/self/cgroup");
    assert_eq!(own, "0::/all");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

fn writable_cgroup(config: &mut Value) {
    let mounts = config["mounts"].as_array_mut().expect("a list");
    let cgroup = mounts.iter_mut().find(|mount| mount["type"] == "cgroup");
    cgroup.expect("the example mounts it")["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
}

#[test]
fn a_cgroup_is_handed_to_the_containers_user_where_that_can_reach_it_and_nothing_else() {
    for (writable, own_view, owner) in [(true, true, 1000), (false, true, 0), (true, false, 0)] {
        let bundle = Bundle::new();
        bundle.edit(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            if writable {
                writable_cgroup(config);
            }
            if !own_view {
                without_namespace(config, "cgroup");
            }
        });
        sleeping(&bundle, json!({"pids": {"limit": 9}}));
        let owners = ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
            .map(|name| fs::metadata(folder(&bundle).join(name)).expect("it is there").uid());
        assert_eq!(
            owners, [owner; 4],
            "writable: {writable}, a view of its own: {own_view}"
        );
        // A limit is nobody's to lift.
        assert_eq!(fs::metadata(folder(&bundle).join("pids.max")).expect("a file").uid(), 0);
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    }
}

#[test]
fn a_process_beyond_the_memory_limit_is_killed_and_events_say_so() {
    let bundle = Bundle::new();
    sleeping(&bundle, json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}}));
    bundle
        .runtime(&[
            "exec",
            bundle.id(),
            "sh",
            "-c",
            "head -c 100000000 /dev/zero | tail >/dev/null",
        ])
        .code_is(137);
    // Who starts a program meanwhile may be killed beside it.
    let events = file(&bundle, "memory.events");
    let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
    assert!(killed.is_some_and(|count| count != "0"), "{events}");
    let stats = bundle.runtime(&["events", "--stats", bundle.id()]).ok();
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 33_554_432);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn a_cgroup_with_a_process_or_a_frozen_one_is_refused_and_left_alone() {
    let bundle = Bundle::new();
    let parent = PathBuf::from("/sys/fs/cgroup/davit-tests");
    let taken = parent.join(bundle.id());
    fs::create_dir_all(&taken).expect("cgroups can be made");
    let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep");
    fs::write(taken.join("cgroup.procs"), child.id().to_string()).expect("the process can be moved");
    bundle.run(&["true"]).code_is(1).says("not empty");
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");

    fs::write(taken.join("cgroup.freeze"), "1").expect("cgroups can be frozen");
    bundle.run(&["true"]).code_is(1).says("frozen");
    fs::write(taken.join("cgroup.freeze"), "0").expect("cgroups can be thawed");
    bundle.run(&["true"]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}
