//! The runtime of an ordinary user.
//!
//! The user is a number without a name on the machine; where a name is needed (newuidmap asks for one), it is one in a
//! mount namespace of the command.

#[path = "rootless/rig.rs"]
mod rig;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use davit_integration_tests::{Run, program, wait};
use serde_json::{Value, json};

use self::rig::{GRANTED, GROUP, Given, Rootless, USER};
use super::{
    at_a_terminal,
    bundle::{join_namespace, without_namespace},
    seccomp::{agent, asks_about},
    security::binary::{EXECUTE_THE_RUNTIME, Held},
    update::v2_alone,
};

#[test]
fn an_ordinary_user_has_containers_from_created_to_deleted() {
    let rootless = Rootless::new();
    let id = rootless.bundle.id();
    rootless
        .bundle
        .edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    rootless.detached(&["create"]);
    let state = rootless.state();
    assert_eq!(state["status"], "created");
    // The state is where the user may write, and not swept away for its age.
    let root = rootless.bundle.file("run/davit/runc");
    let mode = fs::metadata(&root).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1700);
    let exec = |command: &[&str]| rootless.run_as_user(&[&["exec", id], command].concat());
    let seen = exec(&["sh", "-c", "id -u; set -- $(cat /proc/self/uid_map); echo $*"]).ok();
    assert_eq!(seen, format!("0\n0 {USER} 1"));
    rootless.run_as_user(&["start", id]).ok();
    assert_eq!(rootless.state()["status"], "running");
    exec(&["test", "-c", "/dev/null"]).ok();
    let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).expect("it runs");
    assert!(
        status.contains(&format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}")),
        "{status}"
    );
    assert_eq!(rootless.run_as_user(&["list", "--quiet"]).ok(), id);
    rootless.run_as_user(&["kill", id, "KILL"]).ok();
    wait::until_true("the container is stopped", 5, || {
        rootless.state()["status"] == "stopped"
    });
    rootless.run_as_user(&["delete", id]).ok();
    assert_eq!(rootless.run_as_user(&["list", "--quiet"]).ok(), "");
    rootless.run(&["sh", "-c", "exit 42"]).code_is(42);
}

#[test]
fn an_ordinary_users_container_may_share_the_machines_processes() {
    let rootless = Rootless::new();
    rootless.bundle.edit(|config| {
        without_namespace(config, "pid");
        let mounts = config["mounts"].as_array_mut().expect("a list");
        let proc = mounts
            .iter_mut()
            .find(|mount| mount["destination"] == "/proc")
            .expect("it has one");
        *proc = json!({"destination": "/proc", "type": "none", "source": "/proc", "options": ["rbind"]});
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    rootless.detached(&["run", "--detach"]);
    let entered = rootless.run_as_user(&["exec", rootless.bundle.id(), "readlink", "/proc/self/ns/pid"]);
    let own = fs::read_link("/proc/self/ns/pid").expect("/proc is mounted");
    assert_eq!(entered.ok(), own.to_str().expect("text"));
    rootless.run_as_user(&["delete", "--force", rootless.bundle.id()]).ok();
}

/// The own id and some of those that are granted.
fn more(own: u32, count: u32) -> Value {
    json!([
        {"containerID": 0, "hostID": own, "size": 1},
        {"containerID": 1, "hostID": GRANTED, "size": count},
    ])
}

#[test]
fn a_newuidmap_that_leaves_a_daemon_or_does_not_end_is_not_waited_for_for_ever() {
    let rootless = Rootless::new();
    let bundle = &rootless.bundle;
    bundle.edit(|config| {
        config["linux"]["uidMappings"] = more(USER, 1000);
        config["linux"]["gidMappings"] = more(GROUP, 1000);
        config["process"]["args"] = json!(["echo", "fine"]);
    });
    fs::create_dir(bundle.file("bin")).expect("the bundle is ours");
    let run = || {
        let mut run = rootless.command_with_name(&["run", "--bundle", &bundle.path(), bundle.id()]);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bundle.file("bin"));
        run.env("PATH", path).finish()
    };
    let tool = |script: &str| {
        program::write(bundle.file("bin/newuidmap"), &format!("#!/bin/sh\n{script}\n"));
    };
    let begun = Instant::now();
    // Working in the bundle, the sleeper is found and ended with the test's other processes.
    tool(&format!(
        "cd {}; /bin/sleep 50 & exec /usr/bin/newuidmap \"$@\"",
        bundle.path()
    ));
    assert_eq!(run().ok(), "fine");
    assert!(begun.elapsed() < Duration::from_secs(20));
    tool("exec /bin/sleep 120");
    run().code_is(1).says("newuidmap has not ended within 30 seconds");
    assert!(begun.elapsed() < Duration::from_secs(100));
}

#[test]
fn more_ids_than_the_own_one_come_from_those_that_are_granted() {
    let rootless = Rootless::new();
    let args = ["run", "--bundle", &rootless.bundle.path(), rootless.bundle.id()];
    rootless.bundle.edit(|config| {
        config["linux"]["uidMappings"] = more(USER, 1000);
        config["linux"]["gidMappings"] = more(GROUP, 1000);
        config["process"]["user"] = json!({"uid": 5, "gid": 7});
        config["process"]["args"] = json!(["sh", "-c", "id -u; id -g; wc -l < /proc/self/uid_map"]);
    });
    assert_eq!(rootless.run_with_name(&args).ok(), "5\n7\n2");
    rootless
        .bundle
        .edit(|config| config["linux"]["uidMappings"] = more(USER, 1001));
    rootless
        .run_with_name(&args)
        .code_is(1)
        .says("newuidmap refused")
        .says("/etc/subuid");
    let mut without = rootless.command(&args);
    without.env("PATH", "/nowhere");
    // setpriv itself is found by its path.
    let mut absolute = Command::new("/usr/bin/setpriv");
    absolute.args(without.get_args()).env("PATH", "/nowhere");
    absolute
        .env("XDG_RUNTIME_DIR", rootless.bundle.file("run"))
        .finish()
        .code_is(1)
        .says("newuidmap is not in PATH");
    assert_eq!(rootless.run_as_user(&["list", "--quiet"]).ok(), "");
}

#[test]
fn whether_missing_rights_on_cgroups_are_passed_over_can_be_said() {
    let rootless = Rootless::new();
    let id = rootless.bundle.id();
    rootless
        .bundle
        .edit(|config| config["process"]["args"] = json!(["true"]));
    let run = |how: &str| rootless.run_as_user(&["--rootless", how, "run", "--bundle", &rootless.bundle.path(), id]);
    run("auto").ok();
    run("true").ok();
    run("false").code_is(1).says("permission denied");
    run("perhaps").code_is(1).says("perhaps");
    assert_eq!(rootless.run_as_user(&["list", "--quiet"]).ok(), "");
}

#[test]
fn an_ordinary_users_program_has_a_terminal() {
    let rootless = Rootless::new();
    let id = rootless.bundle.id();
    let at_a_terminal = |args: &[&str]| at_a_terminal(&rootless.command(args));
    let asked = "tty; stat -c %u $(tty); echo all > /dev/console";
    rootless.bundle.edit(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!(["sh", "-c", asked]);
    });
    let said = at_a_terminal(&["run", "--bundle", &rootless.bundle.path(), id]).code_is(0);
    assert!(said.stdout.ends_with("/dev/pts/0\r\n0\r\nall\r\n"), "{said:?}");
    rootless.bundle.edit(|config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    rootless.detached(&["run", "--detach"]);
    fs::write(rootless.bundle.rootfs().join("script"), asked).expect("the rootfs is ours");
    let said = at_a_terminal(&["exec", "--tty", id, "sh", "/script"]).code_is(0);
    assert!(said.stdout.contains("/dev/pts/0\r\n0\r\n"), "{said:?}");
}

#[test]
fn an_ordinary_user_joins_a_network_in_the_user_namespace_that_it_belongs_to() {
    let rootless = Rootless::new();
    let (id, guest) = (rootless.bundle.id(), format!("{}-guest", rootless.bundle.id()));
    rootless.bundle.edit(|config| {
        join_namespace(config, "network", "");
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    rootless.detached(&["run", "--detach"]);
    let owners = |kind: &str| format!("/proc/{}/ns/{kind}", rootless.state()["pid"]);
    rootless.bundle.edit(|config| {
        join_namespace(config, "network", &owners("net"));
        join_namespace(config, "user", &owners("user"));
        config["linux"]["uidMappings"] = Value::Null;
        config["linux"]["gidMappings"] = Value::Null;
        config["process"]["args"] = json!(["sh", "-c", "cd /proc/self/ns; readlink net; readlink user"]);
    });
    let said = rootless
        .run_as_user(&["run", "--bundle", &rootless.bundle.path(), &guest])
        .ok();
    let theirs = ["net", "user"].map(|kind| fs::read_link(owners(kind)).expect("it runs").display().to_string());
    assert_eq!(said, theirs.join("\n"));
    rootless.run_as_user(&["delete", "--force", id]).ok();
}

#[test]
fn an_ordinary_users_processes_have_their_score() {
    let rootless = Rootless::new();
    let id = rootless.bundle.id();
    rootless.bundle.edit(|config| {
        config["process"]["oomScoreAdj"] = json!(400);
        config["process"]["args"] = json!(["sleep", "600"]);
    });
    rootless.detached(&["run", "--detach"]);
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", rootless.state()["pid"]));
    assert_eq!(score.expect("it runs"), "400\n");
    let seen = rootless.run_as_user(&["exec", id, "cat", "/proc/self/oom_score_adj"]);
    assert_eq!(seen.ok(), "400");
}

/// The runtime has not the privilege to fetch a descriptor of the process: it is sent.
#[test]
fn an_ordinary_users_agent_gets_the_listener() {
    let rootless = Rootless::new();
    asks_about(&rootless.bundle, json!(["mkdir", "mkdirat"]), false);
    let new_agent = || {
        let agent = agent(&rootless.bundle);
        let socket = rootless.bundle.file("agent.sock");
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).expect("the bundle is ours");
        agent
    };
    let first = new_agent();
    rootless
        .bundle
        .edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    rootless.detached(&["run", "--detach"]);
    let told = first.join().expect("the agent");
    assert_eq!(told.link, "anon_inode:seccomp notify");
    assert_eq!(told.state["pid"], rootless.state()["pid"]);
    let second = new_agent();
    let exec = rootless.run_as_user(&["exec", rootless.bundle.id(), "mkdir", "/tmp/x"]);
    exec.code_is(1).says("Function not implemented");
    assert_eq!(second.join().expect("the agent").link, "anon_inode:seccomp notify");
}

/// Adds a bind of the machine's /etc.
fn bind(config: &mut Value, mut mount: Value) {
    mount["destination"] = json!("/bound");
    mount["source"] = json!("/etc");
    config["mounts"].as_array_mut().expect("a list").push(mount);
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_by_its_name() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 9] = [
        (
            |c| {
                join_namespace(c, "network", "");
                c["linux"]["netDevices"] = json!({"eth0": {}});
            },
            "network devices are not supported for rootless",
        ),
        (
            |c| bind(c, json!({"options": ["rbind", "idmap"]})),
            "id-mapped mounts are not supported for rootless",
        ),
        (
            |c| {
                let map = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
                bind(c, json!({"options": ["rbind"], "uidMappings": map, "gidMappings": map}));
            },
            "id-mapped mounts are not supported for rootless",
        ),
        (
            |c| c["process"]["user"]["additionalGids"] = json!([5]),
            "cannot set any additional groups",
        ),
        (
            |c| {
                without_namespace(c, "user");
                c["linux"]["uidMappings"] = Value::Null;
                c["linux"]["gidMappings"] = Value::Null;
            },
            "requires user namespaces",
        ),
        (|c| c["linux"]["gidMappings"] = Value::Null, "linux.gidMappings"),
        (
            |c| {
                let mounts = c["mounts"].as_array_mut().expect("a list");
                mounts.push(json!({"destination": "/m", "type": "tmpfs", "source": "m", "options": ["uid=7"]}));
            },
            "uid=7",
        ),
        (
            |c| c["linux"]["resources"] = json!({"pids": {"limit": 20}}),
            "rootless needs no limits",
        ),
        (
            |c| c["linux"]["cgroupsPath"] = json!("/davit-tests/of-nobody"),
            "permission denied",
        ),
    ];
    for (edit, problem) in cases {
        let rootless = Rootless::new();
        rootless.bundle.edit(edit);
        rootless.run(&["true"]).code_is(1).says(problem);
        assert_eq!(rootless.run_as_user(&["list", "--quiet"]).ok(), "");
    }
}

/// CVE-2023-25809: without a cgroup namespace the container sees its maker's cgroups, which the user may own.
#[test]
fn the_makers_cgroups_cannot_be_written_from_inside() {
    let rootless = Rootless::new();
    let cgroup = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
        .map(|hierarchy| PathBuf::from(hierarchy).join(format!("{}-user", rootless.bundle.id())))
        .into_iter()
        .find(|path| fs::create_dir(path).is_ok())
        .expect("a cgroup hierarchy");
    let _given = Given {
        rootless: &rootless,
        folders: vec![cgroup.clone()],
    };
    let owner = format!("{USER}:{GROUP}");
    Command::new("chown").args(["-R", &owner]).arg(&cgroup).finish().ok();
    let name = cgroup.file_name().expect("a name").to_string_lossy().into_owned();
    rootless.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        let cgroups = mounts.iter_mut().find(|mount| mount["type"] == "cgroup");
        // The config does not ask for it.
        cgroups.expect("it has one")["options"] = json!(["nosuid", "noexec", "nodev"]);
        without_namespace(config, "cgroup");
        // The user's cgroup is the top of what is seen, or below it.
        let top = if v2_alone() {
            "/sys/fs/cgroup"
        } else {
            "/sys/fs/cgroup/pids"
        };
        let script = format!(
            "for d in {top} {top}/{name}; do [ -e $d/cgroup.procs ] || continue; echo seen; \
             mkdir $d/escaped && echo escaped; done; true"
        );
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let run = rootless.command(&["run", "--bundle", &rootless.bundle.path(), rootless.bundle.id()]);
    let ran = rootless.within(&cgroup, &run).finish();
    let said = ran.ok();
    assert!(said.contains("seen") && !said.contains("escaped"), "{said}");
    wait::until_true("the cgroup is left", 5, || fs::remove_dir(&cgroup).is_ok());
}

#[test]
fn in_a_cgroup_that_was_handed_to_the_user_limits_are_the_users_to_set() {
    if !v2_alone() {
        davit_integration_tests::skipped!("only cgroup v2 can be handed to an ordinary user");
        return;
    }
    let rootless = Rootless::new();
    let (bundle, id) = (&rootless.bundle, rootless.bundle.id());
    let top = PathBuf::from("/sys/fs/cgroup").join(format!("{id}-user"));
    let start = top.join("start");
    fs::create_dir_all(&start).expect("cgroup v2");
    let _given = Given {
        rootless: &rootless,
        folders: vec![top.clone(), start.clone()],
    };
    let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids +memory");
    let owner = format!("{USER}:{GROUP}");
    for folder in [&top, &start] {
        let files = ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"].map(|name| folder.join(name));
        Command::new("chown").arg(&owner).args(files).finish().ok();
    }
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["linux"]["cgroupsPath"] = json!(format!("/{id}-user/box"));
        config["linux"]["resources"] = json!({"pids": {"limit": 9}, "memory": {"limit": 33_554_432}});
    });
    let as_user = |args: &[&str]| rootless.within(&start, &rootless.command(args));
    let (path, null) = (bundle.path(), Stdio::null);
    let mut run = as_user(&["run", "--detach", "--bundle", &path, id]);
    let log = fs::File::create(bundle.file("log")).expect("the bundle is ours");
    let status = run.stdin(null()).stdout(null()).stderr(log).status();
    let said = fs::read_to_string(bundle.file("log")).expect("a file");
    assert!(status.expect("sh is there").success(), "{said}");
    let file = |name: &str| fs::read_to_string(top.join("box").join(name)).expect("the cgroup is there");
    assert_eq!((file("pids.max").trim(), file("memory.max").trim()), ("9", "33554432"));
    let pid = rootless.state()["pid"].to_string();
    assert!(file("cgroup.procs").lines().any(|line| line == pid));
    // Who enters is in it, too, and an update reaches it.
    let place = as_user(&["exec", id, "cat", "/proc/self/cgroup"]).finish().ok();
    assert!(place == "0::/" || place.ends_with("/box"), "{place}");
    as_user(&["update", "--pids-limit", "7", id]).finish().ok();
    assert_eq!(file("pids.max"), "7\n");
    as_user(&["delete", "--force", id]).finish().ok();
    assert!(!top.join("box").exists());
    for folder in [&start, &top] {
        wait::until_true("the cgroup is left", 5, || fs::remove_dir(folder).is_ok());
    }
}

/// CVE-2019-5736, where the user owns the binary and is root in the container.
#[test]
fn the_users_own_binary_cannot_be_written_from_inside() {
    let rootless = Rootless::new();
    let before = fs::read(&rootless.runtime).expect("the runtime");
    let fifo = rootless.bundle.rootfs().join("fifo");
    Command::new("mkfifo").args(["-m", "666"]).arg(fifo).finish().ok();
    rootless
        .bundle
        .edit(|config| config["process"]["args"] = json!(EXECUTE_THE_RUNTIME));
    rootless.detached(&["run", "--detach"]);
    let held = Held::of(&rootless.state()["pid"].to_string());
    rootless.run_as_user(&["delete", "--force", rootless.bundle.id()]).ok();
    held.cannot_be_written();
    assert!(before == fs::read(&rootless.runtime).expect("the runtime"));
}

/// CVE-2016-9962 for who enters: the container's own processes may trace, but not somebody with the host's files open.
#[test]
fn who_enters_is_hidden_from_a_container_that_may_trace() {
    let rootless = Rootless::new();
    rootless.bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        for set in ["bounding", "effective", "permitted"] {
            let capabilities = config["process"]["capabilities"][set].as_array_mut().expect("a list");
            let more = [
                "CAP_SYS_PTRACE",
                "CAP_SYS_ADMIN",
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
            ];
            capabilities.extend(more.map(|name| json!(name)));
        }
    });
    rootless.detached(&["run", "--detach"]);
    let mut entering = rootless.command(&["exec", rootless.bundle.id(), "true"]);
    entering.env("DAVIT_FAIL_POINT", "exec.child-entered:stop");
    let null = || Stdio::null();
    let mut entering = rootless
        .bundle
        .spawn(entering.stdin(null()).stdout(null()).stderr(null()));
    let script = "for p in /proc/[0-9]*; do grep -q '^State:.T' $p/status || continue; echo entering; \
                  for name in exe root cwd; do readlink $p/$name; done; done; true";
    let look = || {
        rootless
            .run_as_user(&["exec", rootless.bundle.id(), "sh", "-c", script])
            .ok()
    };
    let seen = wait::until("somebody enters", 20, || Some(look()).filter(|seen| !seen.is_empty()));
    rootless.run_as_user(&["delete", "--force", rootless.bundle.id()]).ok();
    wait::until_true("the command has ended", 10, || {
        entering.try_wait().expect("a child").is_some()
    });
    assert_eq!(seen, "entering");
}

#[test]
fn a_binary_that_no_path_leads_to_goes_on_in_sealed_memory() {
    let rootless = Rootless::new();
    let script = "cp \"$0\" \"$0.gone\"; exec 9< \"$0.gone\"; rm \"$0.gone\"; exec /proc/self/fd/9 \"$@\"";
    let fifo = rootless.bundle.rootfs().join("fifo");
    Command::new("mkfifo").args(["-m", "666"]).arg(fifo).finish().ok();
    rootless
        .bundle
        .edit(|config| config["process"]["args"] = json!(EXECUTE_THE_RUNTIME));
    let run = [
        "run",
        "--detach",
        "--bundle",
        &rootless.bundle.path(),
        rootless.bundle.id(),
    ];
    let inner = rootless.command(&run);
    let args: Vec<_> = inner.get_args().collect();
    let mut outer = Command::new("setpriv");
    outer
        .args(&args[..5])
        .args(["sh", "-c", script])
        .args(&args[5..])
        .env("XDG_RUNTIME_DIR", rootless.bundle.file("run"));
    rootless.bundle.finish_into_files(&mut outer).ok();
    let held = Held::of(&rootless.state()["pid"].to_string());
    rootless.run_as_user(&["delete", "--force", rootless.bundle.id()]).ok();
    held.cannot_be_written();
}
