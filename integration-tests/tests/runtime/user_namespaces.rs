//! User namespaces: new and joined, what belongs to them, and what their root may reach.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::{Command, Stdio},
};

use davit_integration_tests::{Run, wait};
use serde_json::{Value, json};

use super::{
    at_a_terminal,
    bundle::{Bundle, join_namespace},
};

/// Where the container's ids begin outside.
const FIRST_USER: u32 = 100_000;
const FIRST_GROUP: u32 = 200_000;
const COUNT: u32 = 65_536;

/// Everything of a file hierarchy belongs to the container's root.
fn give_to_root_of_the_container(bundle: &Bundle) {
    let root = bundle.rootfs().display().to_string();
    let owner = format!("{FIRST_USER}:{FIRST_GROUP}");
    Command::new("chown").args(["-R", "-h", &owner, &root]).finish().ok();
    // The way there must be open to it.
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).expect("the bundle is ours");
}

fn map(first: u32, count: u32) -> Value {
    json!([{"containerID": 0, "hostID": first, "size": count}])
}

/// A bundle with a user namespace.
fn mapped() -> Bundle {
    let bundle = Bundle::new();
    map_ids(&bundle);
    bundle
}

/// Gives the container a user namespace.
pub fn map_ids(bundle: &Bundle) {
    bundle.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = map(FIRST_USER, COUNT);
        config["linux"]["gidMappings"] = map(FIRST_GROUP, COUNT);
    });
    give_to_root_of_the_container(bundle);
}

fn capable(config: &mut Value, names: &[&str]) {
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(names);
    }
}

fn without_mount(config: &mut Value, destination: &str) {
    let mounts = config["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| {
        !mount["destination"]
            .as_str()
            .is_some_and(|place| place.starts_with(destination))
    });
}

fn status_of(pid: &Value, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a field");
    line[field.len()..].trim_start_matches(':').trim().replace('\t', " ")
}

#[test]
fn root_inside_is_nobody_special_outside() {
    let bundle = mapped();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let pid = &bundle.state()["pid"];
    assert_eq!(status_of(pid, "Uid"), "100000 100000 100000 100000");
    assert_eq!(status_of(pid, "Gid"), "200000 200000 200000 200000");
    assert_eq!(status_of(pid, "Groups"), "");
    let exec = |args: &[&str]| bundle.runtime(&[&["exec"], args].concat()).ok();
    assert_eq!(exec(&[bundle.id(), "id", "-u"]), "0");
    let own = fs::read_link(format!("/proc/{pid}/ns/user")).expect("it runs");
    let entered = exec(&[bundle.id(), "readlink", "/proc/self/ns/user"]);
    assert_eq!(own.to_str(), Some(entered.trim_end()));
    let map = exec(&[
        "--user",
        "5:7",
        "--additional-gids",
        "9",
        bundle.id(),
        "cat",
        "/proc/self/uid_map",
    ]);
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(
        exec(&["--user", "5:7", "-g", "9", bundle.id(), "id"]),
        "uid=5 gid=7 groups=9"
    );
    bundle
        .runtime(&["exec", "--user", "70000", bundle.id(), "true"])
        .code_is(255)
        .says("unmapped uid 70000");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn what_the_other_namespaces_hold_belongs_to_the_root_inside() {
    let bundle = mapped();
    let script = "stat -c %u /sys/class/net/lo/mtu /dev/mqueue /dev/shm /dev/pts /proc/sys/net/ipv4/ip_forward; \
                  echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; \
                  for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo $d; done; \
                  hostname renamed && hostname";
    bundle.edit(|config| {
        capable(config, &["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(bundle.run(&["sh", "-c", script]).ok(), "0\n0\n0\n0\n0\n1\nrenamed");
}

#[test]
fn hundreds_of_mappings_are_taken_whole_or_not_at_all() {
    let bundle = mapped();
    let single = |first: u32, count: u32| {
        let each = (0..count).map(|id| json!({"containerID": id, "hostID": first + id, "size": 1}));
        json!(each.collect::<Vec<_>>())
    };
    bundle.edit(|config| {
        config["linux"]["uidMappings"] = single(FIRST_USER, 200);
        config["linux"]["gidMappings"] = single(FIRST_GROUP, 200);
    });
    let counted = bundle.run(&["sh", "-c", "wc -l < /proc/self/uid_map; wc -l < /proc/self/gid_map"]);
    assert_eq!(counted.ok(), "200\n200");
    // More than 64 KiB of them: CVE-2021-43784.
    bundle.edit(|config| config["linux"]["uidMappings"] = single(FIRST_USER, 6000));
    bundle
        .run(&["true"])
        .code_is(1)
        .says("linux.uidMappings: 6000 mappings");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn mappings_that_the_kernel_refuses_leave_nothing() {
    let bundle = mapped();
    bundle.edit(|config| {
        let twice = json!({"containerID": 0, "hostID": FIRST_USER, "size": 10});
        config["linux"]["uidMappings"] = json!([twice, twice]);
    });
    bundle
        .run(&["true"])
        .code_is(1)
        .says("write uid_map")
        .says("invalid argument");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_user_namespace_is_joined_by_its_path() {
    let (owner, guest) = (mapped(), mapped());
    owner.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    owner
        .runtime(&["run", "--detach", "--bundle", &owner.path(), owner.id()])
        .ok();
    let path = format!("/proc/{}/ns/user", owner.state()["pid"]);
    let join = |mappings: Value| {
        guest.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
            let user = namespaces.iter_mut().find(|namespace| namespace["type"] == "user");
            user.expect("it has one")["path"] = json!(path);
            config["linux"]["uidMappings"] = mappings.clone();
            config["linux"]["gidMappings"] = mappings;
        });
        guest.run(&["readlink", "/proc/self/ns/user"])
    };
    let own = fs::read_link(&path).expect("it runs");
    assert_eq!(join(Value::Null).ok().trim_end(), own.to_str().expect("text"));
    join(map(7, 7)).code_is(1).says("non-matching mapping");
    assert_eq!(guest.ids(), Vec::<String>::new());
    owner.runtime(&["delete", "--force", owner.id()]).ok();
}

#[test]
fn namespaces_of_others_are_joined_beside_a_user_namespace_and_beside_a_new_one() {
    let owner = mapped();
    owner.edit(|config| config["hostname"] = json!("theirs"));
    owner.sleeping();
    let owners = |kind: &str| format!("/proc/{}/ns/{kind}", owner.state()["pid"]);
    let asked = ["user", "net", "ipc", "uts"];
    let guest = |shared: &[(&str, &str)]| {
        let guest = mapped();
        guest.edit(|config| {
            config["hostname"] = json!("");
            for (kind, file) in shared {
                join_namespace(config, kind, &owners(file));
            }
            match shared.iter().any(|(kind, _)| *kind == "user") {
                true => {
                    config["linux"]["uidMappings"] = Value::Null;
                    config["linux"]["gidMappings"] = Value::Null;
                }
                // File systems of what belongs to others.
                false => ["/sys", "/dev/mqueue"]
                    .iter()
                    .for_each(|place| without_mount(config, place)),
            }
        });
        let script = "for n in user net ipc uts; do readlink /proc/self/ns/$n; done; hostname";
        let said = guest.run(&["sh", "-c", script]).ok();
        let theirs = asked.map(|kind| fs::read_link(owners(kind)).expect("it runs").display().to_string());
        let same = said.lines().zip(theirs).map(|(own, theirs)| own == theirs);
        (same.collect::<Vec<_>>(), said.ends_with("theirs"))
    };
    // What belongs to the user namespace that is joined can be joined only in it, or by the machine's root.
    let others = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let all = [&[("user", "user")], &others[..]].concat();
    assert_eq!(guest(&all), (vec![true; 4], true));
    assert_eq!(guest(&others), (vec![false, true, true, true], true));
}

#[test]
fn a_network_of_the_machine_is_joined_beside_a_user_namespace() {
    let bundle = mapped();
    // It does not belong to the user namespace: so it is joined from outside of it.
    let mut unshare = Command::new("unshare");
    let mut owner = bundle.spawn(unshare.args(["--net", "sleep", "600"]));
    let path = format!("/proc/{}/ns/net", owner.id());
    let own = fs::read_link("/proc/self/ns/net").expect("it is there");
    let theirs = wait::until("the network is there", 10, || {
        fs::read_link(&path).ok().filter(|theirs| *theirs != own)
    });
    bundle.edit(|config| {
        join_namespace(config, "network", &path);
        // It would be that of the network's owner, who is not the container.
        without_mount(config, "/sys");
    });
    let said = bundle.run(&["readlink", "/proc/self/ns/net"]).ok();
    owner.kill().expect("it is ours");
    owner.wait().expect("it ends");
    assert_eq!(said, theirs.display().to_string());
}

#[test]
fn a_score_is_set_where_only_the_runtime_may() {
    let bundle = mapped();
    bundle.edit(|config| config["process"]["oomScoreAdj"] = json!(400));
    bundle.sleeping();
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", bundle.state()["pid"]));
    assert_eq!(score.expect("it runs"), "400\n");
    assert_eq!(bundle.exec(&["cat", "/proc/self/oom_score_adj"]).ok(), "400");
}

#[test]
fn a_terminal_belongs_to_the_user_inside() {
    let bundle = mapped();
    bundle.edit(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["user"] = json!({"uid": 5, "gid": 7});
    });
    let script = "tty; stat -c %u:%g $(tty) /dev/console; echo all > /dev/console";
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let at_a_terminal = |args: &[&str]| at_a_terminal(&bundle.command(args)).code_is(0);
    let said = at_a_terminal(&["run", "--bundle", &bundle.path(), bundle.id()]);
    // The group of terminals, as the config mounts devpts.
    let expected = "/dev/pts/0\r\n5:5\r\n5:5\r\nall\r\n";
    assert!(said.stdout.ends_with(expected), "{said:?}");
    bundle.edit(|config| config["process"]["terminal"] = json!(false));
    bundle.sleeping();
    fs::write(bundle.rootfs().join("script"), "tty; stat -c %u:%g $(tty)").expect("the rootfs is ours");
    let said = at_a_terminal(&["exec", "--tty", "--user", "8:9", bundle.id(), "sh", "/script"]);
    assert!(said.stdout.ends_with("/dev/pts/0\r\n8:5\r\n"), "{said:?}");
}

#[test]
fn a_source_that_root_inside_may_not_reach_is_mounted_and_keeps_the_hosts_flags() {
    let bundle = mapped();
    let closed = bundle.file("closed");
    let source = format!("{closed}/source");
    fs::create_dir_all(&source).expect("the bundle is ours");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("the bundle is ours");
    Command::new("mount")
        .args(["-t", "tmpfs", "-o", "ro,nosuid", "none", &source])
        .finish()
        .ok();
    bundle.edit(|config| {
        capable(config, &["CAP_SYS_ADMIN"]);
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind"]}));
    });
    let script = "mount -o remount,bind,rw /data 2>/dev/null; touch /data/x 2>/dev/null && echo written; \
                  grep ' /data ' /proc/self/mountinfo | cut -d ' ' -f 6";
    let shown = bundle.run(&["sh", "-c", script]);
    Command::new("umount").arg(&source).finish().ok();
    assert_eq!(shown.ok(), "ro,nosuid,relatime");
}

#[test]
fn ids_of_a_bind_are_mapped_by_the_containers_own_mapping_where_the_option_says_so() {
    let bundle = mapped();
    // Folders of a disk: tmpfs maps ids from Linux 6.3 on.
    let (source, below) = (bundle.file("source"), bundle.file("source-below"));
    for folder in [&source, &below] {
        fs::create_dir(folder).expect("the bundle is ours");
        fs::write(format!("{folder}/file"), "").expect("the bundle is ours");
        chown(format!("{folder}/file"), Some(5), Some(7)).expect("root may");
    }
    let place = format!("{source}/below");
    fs::create_dir(&place).expect("the bundle is ours");
    Command::new("mount").args(["--bind", &below, &place]).finish().ok();
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        for (destination, option) in [("/plain", "rw"), ("/one", "idmap"), ("/whole", "ridmap")] {
            mounts.push(json!({"destination": destination, "source": source, "options": ["rbind", option]}));
        }
    });
    let script = "cd /; stat -c %u:%g plain/file one/file one/below/file whole/file whole/below/file; \
                  echo x > whole/made && stat -c %u:%g whole/made";
    let shown = bundle.run(&["sh", "-c", script]);
    // And by that of a user namespace that is joined.
    let owner = mapped();
    owner.sleeping();
    bundle.edit(|config| {
        join_namespace(config, "user", &format!("/proc/{}/ns/user", owner.state()["pid"]));
        config["linux"]["uidMappings"] = Value::Null;
        config["linux"]["gidMappings"] = Value::Null;
    });
    let shown_to_guest = bundle.run(&["sh", "-c", script]);
    Command::new("umount").arg(&place).finish().ok();
    let none = "65534:65534";
    let expected = format!("{none}\n5:7\n{none}\n5:7\n5:7\n0:0");
    assert_eq!([shown.ok(), shown_to_guest.ok()], [expected.clone(), expected]);
    let made = fs::metadata(format!("{source}/made")).expect("the program made it");
    assert_eq!((made.uid(), made.gid()), (0, 0));
}

#[test]
fn a_device_that_cannot_be_made_is_the_hosts_or_is_refused() {
    let bundle = mapped();
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/ours", "type": "c", "major": 1, "minor": 3}]);
    });
    bundle
        .run(&["true"])
        .code_is(1)
        .says("no node of device 1:3")
        .says("/dev/ours");
    // The host's node of that name is another device.
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]);
    });
    bundle
        .run(&["true"])
        .code_is(1)
        .says("no node of device 1:3")
        .says("/dev/zero");
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7}]);
    });
    bundle
        .run(&["sh", "-c", "echo x > /dev/full"])
        .code_is(1)
        .says("No space left");
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn the_programs_user_opens_the_runtimes_pipes_anew() {
    let bundle = mapped();
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 5, "gid": 7});
        config["process"]["args"] = json!(["sh", "-c", "echo first > /dev/stdout; echo second > /proc/self/fd/2"]);
    });
    let output = bundle
        .command(&["run", "--bundle", &bundle.path(), bundle.id()])
        .stdin(Stdio::null())
        .output()
        .expect("the runtime is built");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "first\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "second\n");
    // A file is somebody's, and stays it.
    let path = bundle.file("log");
    let file = fs::File::create(&path).expect("the bundle is ours");
    chown(&path, Some(0), Some(0)).expect("root may");
    bundle
        .command(&["run", "--bundle", &bundle.path(), bundle.id()])
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .status()
        .expect("the runtime is built");
    assert_eq!(fs::metadata(&path).expect("a file").uid(), 0);
}

#[test]
fn a_created_container_with_a_user_namespace_is_started_and_paused_and_its_hooks_run() {
    let bundle = mapped();
    let (log, done) = (bundle.file("hooks"), bundle.file("rootfs/done"));
    fs::write(&log, "").expect("the bundle is ours");
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).expect("the bundle is ours");
    let hook = |name: &str| {
        let script = format!("set -- $(cat /proc/self/uid_map); echo {name} $* >> {log}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sh", "-c", "touch /done; sleep 600"]);
        config["hooks"] = json!({"createRuntime": hook("runtime"), "createContainer": hook("container")});
    });
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let said = fs::read_to_string(&log).expect("a file");
    assert_eq!(said, "runtime 0 0 4294967295\ncontainer 0 100000 65536\n");
    bundle.runtime(&["exec", bundle.id(), "true"]).ok();
    assert!(fs::metadata(&done).is_err());
    bundle.runtime(&["start", bundle.id()]).ok();
    davit_integration_tests::wait::until_true("the program runs", 5, || fs::metadata(&done).is_ok());
    assert_eq!(fs::metadata(&done).expect("a file").uid(), FIRST_USER);
    bundle.runtime(&["pause", bundle.id()]).ok();
    bundle.runtime(&["resume", bundle.id()]).ok();
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_hard_limit_above_the_runtimes_own_is_set_with_its_privileges() {
    let below = ["--nofile=1000:1000"];
    let can_raise = Command::new("prlimit")
        .args(below)
        .args(["prlimit", "--nofile=1000:4000", "true"])
        .finish();
    if can_raise.code != 0 {
        davit_integration_tests::skipped!("without CAP_SYS_RESOURCE nobody can raise a hard limit here");
        return;
    }
    let bundle = mapped();
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1000, "hard": 4000}]);
        config["process"]["args"] = json!(["sh", "-c", "ulimit -Hn"]);
    });
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let mut limited = Command::new("prlimit");
    limited.args(below).arg(run.get_program()).args(run.get_args());
    assert_eq!(limited.finish().ok(), "4000");
}
