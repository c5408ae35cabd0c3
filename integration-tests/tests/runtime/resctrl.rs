//! Shares of the caches and of the memory bandwidth (Intel RDT).
//!
//! No machine that tests this has a resctrl. Folders of its form stand in for it, in a mount namespace whose table of mounts
//! says that they are one: what the runtime makes, writes and removes is what it would on a processor that has them.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
};

use davit_integration_tests::Finished;
use serde_json::{Value, json};

use crate::{
    bundle::Bundle,
    crashes::{FAIL_POINT, SHARE_RECORDED},
    update::control_file,
};

/// Runs a program for which the folder `$0` is a resctrl.
const WITH_RESCTRL: &str = r#"
[ ! -d /sys/fs/resctrl ] || mount -t tmpfs none /sys/fs/resctrl
table=$0.mountinfo
{ cat /proc/$$/mountinfo; echo "9999 1 0:9999 / $0 rw - resctrl resctrl rw"; } > $table
mount --bind $table /proc/$$/mountinfo
exec "$@"
"#;

/// A bundle on a machine with shares of some resources.
struct Machine {
    bundle: Bundle,
    root: PathBuf,
}

impl Machine {
    fn with(resources: &[&str]) -> Self {
        let bundle = Bundle::new();
        bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
        let root = PathBuf::from(bundle.file("resctrl"));
        for resource in resources {
            fs::create_dir_all(root.join("info").join(resource)).expect("the bundle is ours");
        }
        Machine { bundle, root }
    }

    fn runtime(&self, args: &[&str]) -> Finished {
        self.bundle.finish_into_files(&mut self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let runtime = self.bundle.command(args);
        let mut there = Command::new("unshare");
        there.args(["--mount", "--propagation", "private", "sh", "-c", WITH_RESCTRL]);
        there
            .arg(&self.root)
            .arg(runtime.get_program())
            .args(runtime.get_args());
        there
    }

    fn run(&self) -> Finished {
        let folder = self.bundle.path();
        self.runtime(&["run", "--detach", "--bundle", &folder, self.bundle.id()])
    }

    fn pid(&self) -> String {
        self.bundle.state()["pid"].to_string()
    }

    /// The container's own group.
    fn group(&self) -> PathBuf {
        self.root.join(self.bundle.id())
    }

    /// Removes the files of a group, which in a real one go with it.
    fn empty(&self, group: &Path) {
        for file in fs::read_dir(group).expect("the group is there").flatten() {
            if file.path().is_file() {
                fs::remove_file(file.path()).expect("the bundle is ours");
            }
        }
    }
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path:?}: {err}"))
}

#[test]
fn a_container_has_a_group_of_its_own_from_its_first_process_to_its_end() {
    let machine = Machine::with(&["L3", "MB"]);
    machine.bundle.edit(|config| {
        config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=70"});
    });
    machine.run().ok();
    assert_eq!(text(machine.group().join("schemata")), "L3:0=ff\nMB:0=70\n");
    assert_eq!(text(machine.group().join("tasks")), machine.pid());
    machine.empty(&machine.group());
    machine.runtime(&["delete", "--force", machine.bundle.id()]).ok();
    assert!(!machine.group().exists());
}

#[test]
fn who_enters_gets_the_containers_share() {
    let machine = Machine::with(&["L3"]);
    machine
        .bundle
        .edit(|config| config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=ff"}));
    machine.run().ok();
    let (id, pid_file) = (machine.bundle.id(), machine.bundle.file("pid"));
    let exec = ["exec", "--detach", "--pid-file", &pid_file, id, "sleep", "600"];
    machine.runtime(&exec).ok();
    assert_eq!(text(machine.group().join("tasks")), text(pid_file.into()));
    // A group that somebody has removed is no share.
    fs::remove_dir_all(machine.group()).expect("the bundle is ours");
    machine.runtime(&["exec", id, "true"]).ok();
}

#[test]
fn events_tell_what_a_container_may_use_and_has_used() {
    let machine = Machine::with(&["L3", "MB"]);
    let write = |name: &str, value: &str| {
        let path = machine.root.join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the bundle is ours");
        fs::write(path, value).expect("the bundle is ours");
    };
    for (name, value) in [
        ("schemata", "L3:0=fff\nMB:0=100\n"),
        ("info/L3/cbm_mask", "fff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("info/MB/delay_linear", "1\n"),
        ("info/MB/min_bandwidth", "10\n"),
        ("info/MB/num_closids", "8\n"),
        (
            "info/L3_MON/mon_features",
            "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
        ),
    ] {
        write(name, value);
    }
    machine.bundle.edit(|config| {
        config["linux"]["intelRdt"] = json!({"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=70"});
    });
    machine.run().ok();
    for (name, value) in [
        ("llc_occupancy", "4096\n"),
        ("mbm_total_bytes", "500\n"),
        ("mbm_local_bytes", "300\n"),
    ] {
        write(&format!("{}/mon_data/mon_L3_00/{name}", machine.bundle.id()), value);
    }
    let line = machine.runtime(&["events", "--stats", machine.bundle.id()]).ok();
    let event: Value = serde_json::from_str(&line).expect("one line of JSON");
    let expected = json!({
        "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fff",
        "l3_cache_schema": "L3:0=ff",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100",
        "mem_bw_schema": "MB:0=70",
        "mbm_stats": [{"mbm_total_bytes": 500, "mbm_local_bytes": 300}],
        "cmt_stats": [{"llc_occupancy": 4096}],
    });
    assert_eq!(event["data"]["intel_rdt"], expected);
}

#[test]
fn a_class_with_a_name_outlives_the_container_and_its_counters_do_not() {
    let machine = Machine::with(&["L3"]);
    let class = machine.root.join("gold");
    fs::create_dir_all(class.join("mon_groups")).expect("the bundle is ours");
    machine.bundle.edit(|config| {
        config["linux"]["intelRdt"] = json!({"closID": "gold", "enableMonitoring": true});
    });
    machine.run().ok();
    let counters = class.join("mon_groups").join(machine.bundle.id());
    for group in [&class, &counters] {
        assert_eq!(text(group.join("tasks")), machine.pid());
    }
    machine.empty(&counters);
    machine.runtime(&["delete", "--force", machine.bundle.id()]).ok();
    assert!(!counters.exists());
    assert!(class.exists());
}

#[test]
fn an_update_changes_the_share_and_makes_a_group_where_there_is_none() {
    let machine = Machine::with(&["L3", "MB"]);
    machine.run().ok();
    assert!(!machine.group().exists());
    let id = machine.bundle.id();
    for (flags, lines) in [
        (&["--l3-cache-schema", "L3:0=f"][..], "L3:0=f\n"),
        (&["--mem-bw-schema", "MB:0=50"], "MB:0=50\n"),
        (
            &["--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=20"],
            "L3:0=3\nMB:0=20\n",
        ),
    ] {
        machine.runtime(&[&["update"], flags, &[id]].concat()).ok();
        assert_eq!(text(machine.group().join("schemata")), lines);
        assert_eq!(text(machine.group().join("tasks")), machine.pid());
    }
    machine.empty(&machine.group());
    machine.runtime(&["delete", "--force", id]).ok();
    assert!(!machine.group().exists());
}

#[test]
fn an_update_whose_share_is_refused_changes_no_other_limit() {
    let machine = Machine::with(&["L3"]);
    machine
        .bundle
        .edit(|config| config["linux"]["resources"] = json!({"pids": {"limit": 77}}));
    machine.run().ok();
    let id = machine.bundle.id();
    let pids = || control_file(&machine.bundle, "pids", "pids.max", "pids.max");
    machine
        .runtime(&["update", "--pids-limit", "5", "--mem-bw-schema", "MB:0=50", id])
        .code_is(1)
        .says("memory bandwidth schema is not enabled");
    assert_eq!(pids(), "77");
    // What cannot be written to stands for what the kernel refuses.
    let schemata = machine.group().join("schemata");
    fs::create_dir_all(&schemata).expect("the bundle is ours");
    let update = ["update", "--pids-limit", "5", "--l3-cache-schema", "L3:0=f", id];
    machine.runtime(&update).code_is(1).says("is a directory");
    assert_eq!(pids(), "77");
    machine.runtime(&["update", "--cpu-share", "512", id]).ok();
    assert_eq!(pids(), "77");
    // Once the kernel takes it, the container is in it.
    fs::remove_dir(schemata).expect("the bundle is ours");
    machine.runtime(&update).ok();
    assert_eq!(pids(), "5");
    assert_eq!(text(machine.group().join("tasks")), machine.pid());
}

#[test]
fn an_update_that_is_killed_before_the_container_has_its_share_can_be_repeated() {
    let machine = Machine::with(&["L3"]);
    machine.run().ok();
    let update = ["update", "--l3-cache-schema", "L3:0=f", machine.bundle.id()];
    let killed = machine.command(&update).env(FAIL_POINT, SHARE_RECORDED).status();
    assert_eq!(killed.expect("unshare is there").signal(), Some(9));
    assert!(!machine.group().exists());
    machine.runtime(&update).ok();
    assert_eq!(text(machine.group().join("schemata")), "L3:0=f\n");
    assert_eq!(text(machine.group().join("tasks")), machine.pid());
    machine.empty(&machine.group());
    machine.runtime(&["delete", "--force", machine.bundle.id()]).ok();
    assert!(!machine.group().exists());
}
