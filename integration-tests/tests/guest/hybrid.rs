//! systemd on v1 hierarchies with a v2 one beside them. It knows some of them alone; in the others the container is put by the runtime.

use std::{fs, path::PathBuf, process::Command};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use crate::{
    bundle::Bundle,
    systemd::{property, sleeper, start},
};

/// The unit's folders in all hierarchies.
fn folders(unit: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten();
    let folders = hierarchies.map(|entry| entry.path().join("system.slice").join(unit));
    folders.filter(|path| path.exists()).collect()
}

/// Where a process is in each hierarchy.
fn places(pid: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let place = |line: &str| line.splitn(3, ':').nth(2).map(str::to_owned);
    text.lines().filter_map(place).collect()
}

fn entered(bundle: &Bundle) -> String {
    let file = bundle.file("pid");
    let exec = ["exec", "--detach", "--pid-file", &file, bundle.id(), "sleep", "600"];
    bundle.runtime(&exec).ok();
    fs::read_to_string(file).expect("it was asked for")
}

#[test]
fn a_container_is_a_scope_in_every_hierarchy() {
    for hierarchy in ["unified/cgroup.procs", "systemd/tasks", "freezer/tasks"] {
        assert!(fs::exists(format!("/sys/fs/cgroup/{hierarchy}")).is_ok_and(|is_there| is_there));
    }
    let (bundle, unit) = sleeper("system.slice", |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 67108864}, "pids": {"limit": 20},
            "cpu": {"shares": 512, "cpus": "0"}});
    });
    start(&bundle);
    for (name, value) in [
        ("Delegate", "yes"),
        ("MemoryLimit", "67108864"),
        ("TasksMax", "20"),
        ("CPUShares", "512"),
        ("DevicePolicy", "strict"),
    ] {
        assert_eq!(property(&unit, name), value, "{name}");
    }
    let place = format!("/system.slice/{unit}");
    assert_eq!(property(&unit, "ControlGroup"), place);
    for pid in [bundle.state()["pid"].to_string(), entered(&bundle)] {
        let places = places(&pid);
        assert!(
            places.len() > 10 && places.iter().all(|seen| *seen == place),
            "{places:?}"
        );
    }
    let file = |name: &str| {
        let (hierarchy, name) = name.split_once('/').expect("hierarchy/file");
        fs::read_to_string(format!("/sys/fs/cgroup/{hierarchy}{place}/{name}")).expect("the cgroup is there")
    };
    for (name, value) in [
        ("memory/memory.limit_in_bytes", "67108864\n"),
        ("pids/pids.max", "20\n"),
        ("cpu/cpu.shares", "512\n"),
        ("cpuset/cpuset.cpus", "0\n"),
    ] {
        assert_eq!(file(name), value, "{name}");
    }

    bundle
        .runtime(&["update", "--memory", "48M", "--pids-limit", "-1", bundle.id()])
        .ok();
    // What systemd knows it writes again; what it did not know would be lost now.
    Command::new("systemctl").arg("daemon-reload").finish().ok();
    assert_eq!(
        ["MemoryLimit", "TasksMax"].map(|name| property(&unit, name)),
        ["50331648", "infinity"]
    );
    assert_eq!(
        ["memory/memory.limit_in_bytes", "pids/pids.max"].map(file),
        ["50331648\n", "max\n"]
    );
    bundle.runtime(&["pause", bundle.id()]).ok();
    assert_eq!(
        (
            bundle.state()["status"].as_str(),
            file("freezer/freezer.state").as_str()
        ),
        (Some("paused"), "FROZEN\n")
    );
    bundle.runtime(&["resume", bundle.id()]).ok();
    bundle.exec(&["sh", "-c", "echo > /dev/null"]).ok();

    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(folders(&unit), Vec::<PathBuf>::new());
    assert_eq!(property(&unit, "LoadState"), "not-found");
}

/// Controllers that hardly a machine without systemd has mounted.
#[test]
fn huge_pages_and_packets_of_a_container_have_limits_on_v1() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["linux"]["resources"] = json!({
            "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
            "network": {"classID": 0x10_0001, "priorities": [{"name": "lo", "priority": 5}]},
        });
    });
    bundle.sleeping();
    let file = |controller: &str, name: &str| {
        let path = format!("/sys/fs/cgroup/{controller}/davit-tests/{}/{name}", bundle.id());
        fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path}: {err}"))
    };
    for name in ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"] {
        assert_eq!(file("hugetlb", name), "4194304\n", "{name}");
    }
    assert_eq!(file("net_cls", "net_cls.classid"), "1048577\n");
    let ranks = file("net_prio", "net_prio.ifpriomap");
    assert!(ranks.lines().any(|line| line == "lo 5"), "{ranks}");
    let stats = bundle.runtime(&["events", "--stats", bundle.id()]).ok();
    let stats: Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["data"]["hugetlb"]["2MB"]["failcnt"], 0, "{stats}");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

/// Two controllers of one hierarchy have one folder and a name each.
#[test]
fn a_container_sees_controllers_that_share_a_hierarchy_by_each_of_their_names() {
    let bundle = Bundle::new();
    let script = "cd /sys/fs/cgroup; for name in *; do [ -L $name ] && echo $name $(readlink $name); done; \
                  cat cpu/cgroup.procs cpuacct/cgroup.procs 'cpu,cpuacct/cgroup.procs' | sort -u";
    let seen = bundle.run(&["sh", "-c", script]).ok();
    let links = "cpu cpu,cpuacct\ncpuacct cpu,cpuacct\nnet_cls net_cls,net_prio\nnet_prio net_cls,net_prio";
    let (before, pids) = seen.split_at(links.len());
    assert_eq!(before, links);
    assert!(pids.lines().any(|pid| pid == "1"), "{pids}");
}

/// systemd takes all devices away, and gives them back one by one.
#[test]
fn an_update_takes_no_device_away_not_even_for_a_moment() {
    let (bundle, _unit) = sleeper("system.slice", |config| {
        config["process"]["args"] = json!(["sh", "-c", "while echo > /dev/null; do :; done"]);
    });
    start(&bundle);
    for limit in 20..40 {
        let limit = limit.to_string();
        bundle.runtime(&["update", "--pids-limit", &limit, bundle.id()]).ok();
    }
    assert_eq!(bundle.state()["status"], "running");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

/// What systemd does not know it does not empty.
#[test]
fn a_cgroup_that_cannot_be_removed_is_an_error_though_systemd_has_stopped_the_unit() {
    let (bundle, unit) = sleeper("system.slice", |_| {});
    start(&bundle);
    let freezer = PathBuf::from("/sys/fs/cgroup/freezer/system.slice").join(&unit);
    let mut stranger = bundle.spawn(Command::new("sleep").arg("600"));
    fs::write(freezer.join("cgroup.procs"), stranger.id().to_string()).expect("root may move it");
    let delete = || bundle.runtime(&["delete", "--force", bundle.id()]);
    delete().code_is(1).says("freezer").says("device or resource busy");
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert_eq!(bundle.ids(), [bundle.id()]);
    stranger.kill().expect("a child");
    stranger.wait().expect("a child");
    delete().ok();
    assert_eq!(folders(&unit), Vec::<PathBuf>::new());
}
