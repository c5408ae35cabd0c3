//! The OCI runtime by its command line, on bundles of busybox.

#[path = "runtime/as_runc.rs"]
mod as_runc;
#[path = "runtime/bundle.rs"]
mod bundle;
#[path = "runtime/cgroups.rs"]
mod cgroups;
#[path = "runtime/checkpoint.rs"]
mod checkpoint;
#[path = "runtime/commands.rs"]
mod commands;
#[path = "runtime/crashes.rs"]
mod crashes;
#[path = "runtime/descriptors.rs"]
mod descriptors;
#[path = "runtime/devices.rs"]
mod devices;
#[path = "runtime/events.rs"]
mod events;
#[path = "runtime/exec.rs"]
mod exec;
#[path = "runtime/failures.rs"]
mod failures;
#[path = "runtime/features.rs"]
mod features;
#[path = "runtime/foreground.rs"]
mod foreground;
#[path = "runtime/freezer.rs"]
mod freezer;
#[path = "runtime/hooks.rs"]
mod hooks;
#[path = "runtime/host_mounts.rs"]
mod host_mounts;
#[path = "runtime/keyrings.rs"]
mod keyrings;
#[path = "runtime/landlock.rs"]
mod landlock;
#[path = "runtime/limits.rs"]
mod limits;
#[path = "runtime/mounts.rs"]
mod mounts;
#[path = "runtime/namespaces.rs"]
mod namespaces;
#[path = "runtime/net_devices.rs"]
mod net_devices;
#[path = "runtime/notify_socket.rs"]
mod notify_socket;
#[path = "runtime/orphans.rs"]
mod orphans;
#[path = "runtime/priorities.rs"]
mod priorities;
#[path = "runtime/process.rs"]
mod process;
#[path = "runtime/resctrl.rs"]
mod resctrl;
#[path = "runtime/rootless.rs"]
mod rootless;
#[path = "runtime/seccomp.rs"]
mod seccomp;
#[path = "runtime/security.rs"]
mod security;
#[path = "runtime/states.rs"]
mod states;
#[path = "runtime/streams.rs"]
mod streams;
#[path = "runtime/time_namespaces.rs"]
mod time_namespaces;
#[path = "runtime/update.rs"]
mod update;
#[path = "runtime/user_namespaces.rs"]
mod user_namespaces;

use std::{fs, os::unix::fs::symlink, process::Command};

use bundle::{Bundle, join_namespace};
use davit_integration_tests::{Finished, Run, wait};
use serde_json::{Value, json};

#[test]
fn a_program_runs_in_namespaces_of_its_own() {
    let bundle = Bundle::new();
    let script =
        "hostname; echo $$; ls /sys/class/net; for n in pid mnt net uts ipc cgroup; do readlink /proc/self/ns/$n; done";
    let output = bundle.run(&["sh", "-c", script]).ok();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[..3], ["box", "1", "lo"]);
    for link in &lines[3..] {
        let kind = link.split(':').next().expect("kind:[inode]");
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).expect("/proc is mounted");
        assert_ne!(own.to_str(), Some(*link), "{kind}");
    }
}

#[test]
fn the_exit_code_is_the_programs_and_nothing_is_left() {
    let bundle = Bundle::new();
    bundle.run(&["sh", "-c", "exit 42"]).code_is(42);
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", "kill -9 $$; sleep 1"]));
    // The first process of a pid namespace is deaf to its own SIGKILL.
    bundle.run_as_is().code_is(0);
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_container_lives_from_created_to_stopped() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&[
            "create",
            "--bundle",
            &bundle.path(),
            "--pid-file",
            &bundle.file("pid"),
            bundle.id(),
        ])
        .ok();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(
        fs::read_to_string(bundle.file("pid")).expect("a pid file"),
        state["pid"].to_string()
    );
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .code_is(1)
        .says("already exists");

    bundle.runtime(&["start", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "running");
    bundle
        .runtime(&["start", bundle.id()])
        .code_is(1)
        .says("already running");
    bundle
        .runtime(&["delete", bundle.id()])
        .code_is(1)
        .says("not stopped: running");

    bundle.runtime(&["pause", bundle.id()]).ok();
    assert_eq!(bundle.state()["status"], "paused");
    bundle
        .runtime(&["exec", bundle.id(), "true"])
        .code_is(255)
        .says("paused");
    bundle.runtime(&["resume", bundle.id()]).ok();

    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("the container is stopped", 5, || bundle.state()["status"] == "stopped");
    bundle.runtime(&["kill", bundle.id()]).code_is(1).says("not running");
    bundle.runtime(&["start", bundle.id()]).code_is(1).says("stopped");
    bundle.runtime(&["delete", bundle.id()]).ok();
    bundle
        .runtime(&["state", bundle.id()])
        .code_is(1)
        .says("does not exist");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_created_container_can_be_deleted_and_a_running_one_by_force() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    bundle.runtime(&["delete", bundle.id()]).ok();
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn another_process_with_the_same_pid_is_not_the_container() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let record = bundle.root().join(bundle.id()).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    let began = state["startTime"].as_u64().expect("a number");
    state["startTime"] = json!(began + 1);
    fs::write(&record, state.to_string()).expect("a record");
    assert_eq!(bundle.state()["status"], "stopped");
    bundle.runtime(&["kill", bundle.id(), "KILL"]).code_is(1);
    state["startTime"] = json!(began);
    fs::write(&record, state.to_string()).expect("a record");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn what_cannot_be_executed_is_named_as_docker_expects_it() {
    let bundle = Bundle::new();
    let cases = [
        ("none", "exec: \"none\": executable file not found in $PATH"),
        ("/none", "exec: \"/none\": stat /none: no such file or directory"),
        ("/etc", "exec: \"/etc\": is a directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ];
    // The log quotes its message.
    let cases = cases.map(|(program, text)| (program, text.replace('"', "\\\"")));
    for (program, text) in &cases {
        bundle.run(&[program]).code_is(1).says(text);
    }
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    for (program, text) in &cases {
        bundle.runtime(&["exec", bundle.id(), program]).code_is(255).says(text);
    }
    fs::write(bundle.rootfs().join("bin/bad"), "no program").expect("the rootfs is ours");
    Command::new("chmod")
        .arg("755")
        .arg(bundle.rootfs().join("bin/bad"))
        .finish()
        .ok();
    bundle
        .runtime(&["exec", bundle.id(), "bad"])
        .code_is(255)
        .says("/bad: exec format error");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn an_error_is_a_line_of_json_in_the_log() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["none"]));
    let log = bundle.file("log.json");
    bundle
        .runtime(&[
            "--log",
            &log,
            "--log-format",
            "json",
            "create",
            "--bundle",
            &bundle.path(),
            bundle.id(),
        ])
        .code_is(1);
    let lines = fs::read_to_string(log).expect("a log");
    let line: Value = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"]
            .as_str()
            .expect("text")
            .ends_with("executable file not found in $PATH"),
        "{line}"
    );
}

#[test]
fn exec_joins_the_container_with_its_own_user_directory_and_environment() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let script = "id -u; id -g; pwd; echo $FOO; hostname; ls -d /proc/1; exit 7";
    let finished = bundle.runtime(&[
        "exec",
        "--user",
        "1000:100",
        "--cwd",
        "/tmp",
        "--env",
        "FOO=bar",
        bundle.id(),
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(finished.code_is(7).stdout, "1000\n100\n/tmp\nbar\nbox\n/proc/1\n");
    let cgroups = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let init = cgroups(bundle.runtime(&["exec", bundle.id(), "cat", "/proc/1/cgroup"]).ok());
    let own = cgroups(bundle.runtime(&["exec", bundle.id(), "cat", "/proc/self/cgroup"]).ok());
    assert_eq!(init, own);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
}

#[test]
fn paths_are_masked_and_protected() {
    let bundle = Bundle::new();
    let script = "cat /proc/keys | wc -c; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/panic";
    let finished = bundle
        .run(&["sh", "-c", script])
        .code_is(1)
        .says("Read-only file system");
    assert_eq!(finished.stdout, "0\n0\n");
}

#[test]
fn a_mount_destination_that_links_to_the_host_stays_inside() {
    let bundle = Bundle::new();
    let outside = bundle.file("outside");
    fs::create_dir(&outside).expect("the scratch folder is ours");
    symlink(&outside, bundle.rootfs().join("way-out")).expect("the rootfs is ours");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/way-out/made", "type": "tmpfs", "source": "tmpfs"}));
    });
    bundle.run(&["touch", "/way-out/made/file"]).ok();
    assert_eq!(fs::read_dir(outside).expect("a folder").count(), 0);
}

#[test]
fn capabilities_are_what_the_config_says() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let some = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NOT_INVENTED_YET"]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = some.clone();
        }
    });
    let finished = bundle.run(&["grep", "Cap", "/proc/self/status"]);
    let finished = finished.says("ignoring unknown or unavailable capabilities: [CAP_NOT_INVENTED_YET]");
    let none = "0000000000000000";
    let some = "0000000000000420";
    let expected = format!("CapInh:\t{none}\nCapPrm:\t{some}\nCapEff:\t{some}\nCapBnd:\t{some}\nCapAmb:\t{none}\n");
    assert_eq!(finished.stdout, expected);

    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6]});
        for set in ["inheritable", "ambient"] {
            config["process"]["capabilities"][set] = json!(["CAP_KILL"]);
        }
    });
    let script = "grep CapEff /proc/self/status; id -G";
    assert_eq!(
        bundle.run(&["sh", "-c", script]).code_is(0).stdout,
        "CapEff:\t0000000000000020\n1000 5 6\n"
    );
}

#[test]
fn limits_of_the_process_and_of_its_cgroup_hold() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
        config["process"]["oomScoreAdj"] = json!(500);
        config["process"]["user"]["umask"] = json!(0o27);
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
        config["linux"]["resources"]["memory"] = json!({"limit": 33_554_432});
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmax": "65536"});
    });
    let script = "ulimit -Sn; ulimit -Hn; umask; cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward \
                  /proc/sys/kernel/shmmax; cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max";
    let output = bundle.run(&["sh", "-c", script]).ok();
    assert_eq!(output, "50\n60\n0027\n500\n1\n65536\n20");
}

#[test]
fn no_parameter_of_the_host_is_set_by_way_of_a_path_to_the_hosts_own_namespace() {
    let bundle = Bundle::new();
    for (kind, file, parameter, place) in [
        ("network", "net", "net.ipv4.ip_forward", "network"),
        ("ipc", "ipc", "kernel.shmmax", "ipc"),
        ("uts", "uts", "kernel.domainname", "uts"),
    ] {
        let value = fs::read_to_string(format!("/proc/sys/{}", parameter.replace('.', "/"))).expect("a parameter");
        bundle.edit(|config| {
            // What it is already, in case that somebody sets it.
            config["linux"]["sysctl"] = json!({parameter: value.trim()});
            config["hostname"] = json!("");
            join_namespace(config, kind, &format!("/proc/{}/ns/{file}", std::process::id()));
        });
        let refusal = bundle.run(&["true"]).code_is(1);
        refusal.says(&format!("is not allowed in the hosts {place} namespace"));
        bundle.edit(|config| config["linux"]["sysctl"] = json!({}));
        bundle.run(&["true"]).ok();
    }
}

#[test]
fn a_filter_refuses_what_it_names() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
        });
    });
    bundle.run(&["mkdir", "/tmp/x"]).code_is(1).says("not supported");
    // The second time the filter comes from the cache.
    bundle.run(&["mkdir", "/tmp/x"]).code_is(1).says("not supported");
    assert_eq!(
        bundle.run(&["grep", "Seccomp:", "/proc/self/status"]).ok(),
        "Seccomp:\t2"
    );
}

#[test]
fn only_the_wanted_descriptors_reach_the_program() {
    let bundle = Bundle::new();
    let runtime = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", "echo /proc/self/fd/*"]));
    let line = format!("{} 5</etc/passwd 9</", shell_words(&runtime));
    let own = "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    let output = Command::new("sh").args(["-c", &line]).finish().ok();
    // The shell's own descriptor on the folder that it lists is the next free one.
    assert_eq!(output, format!("{own} /proc/self/fd/3"));

    let runtime = bundle.command(&["run", "--preserve-fds", "1", "--bundle", &bundle.path(), bundle.id()]);
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", "cat <&3"]));
    let line = format!("echo passed | ( exec 3<&0 </dev/null; {} )", shell_words(&runtime));
    assert_eq!(Command::new("sh").args(["-c", &line]).finish().ok(), "passed");
    let line = format!("exec 3<&-; {}", shell_words(&runtime));
    Command::new("sh").args(["-c", &line]).finish().code_is(1).says("fd 3");
}

#[test]
fn hooks_run_in_their_order_and_a_failing_one_stops_the_container() {
    let bundle = Bundle::new();
    let log = bundle.file("hooks");
    let hook = |name: &str| {
        let script =
            format!("echo {name} $(cat | tr -d '\\n' | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/') >> {log}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    bundle.edit(|config| {
        for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            config["hooks"][name] = hook(name);
        }
        config["hooks"]["startContainer"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/started"], "env": ["PATH=/bin"]}]);
    });
    assert!(bundle.run(&["cat", "/tmp/started"]).ok().contains("\"id\""));
    let lines = fs::read_to_string(&log).expect("hooks wrote it");
    let expected =
        "prestart creating\ncreateRuntime creating\ncreateContainer creating\npoststart running\npoststop stopped\n";
    assert_eq!(lines, expected);

    bundle.edit(|config| config["hooks"]["createRuntime"] = json!([{"path": "/bin/false"}]));
    bundle.run(&["true"]).code_is(1).says("createRuntime hook #0");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_terminal_is_served_in_the_foreground() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "tty; test -t 0 -a -t 1 -a -t 2 && echo terminal; ls /dev/console; exit 3"
        ]);
    });
    let run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let finished = Command::new("script")
        .args(["-qec", &shell_words(&run), "/dev/null"])
        .finish()
        .code_is(3);
    // `script` types an end of file, of which the terminal shows an echo somewhere.
    let shown = finished.stdout.replace("^@", "").replace("\x08", "");
    assert!(
        shown.contains("/dev/pts/0\r\nterminal\r\n/dev/console\r\n"),
        "{finished:?}"
    );
    bundle
        .runtime(&["create", "--bundle", &bundle.path(), bundle.id()])
        .code_is(1)
        .says("console socket");
}

#[test]
fn bad_input_is_refused_with_its_name_and_leaves_nothing() {
    let bundle = Bundle::new();
    bundle
        .runtime(&["run", "--bundle", &bundle.path(), "../x"])
        .code_is(1)
        .says(r#"invalid container ID format: \"../x\""#);
    bundle
        .runtime(&["run", "--no-such-flag", bundle.id()])
        .code_is(1)
        .says("flag provided but not defined: -no-such-flag");
    bundle
        .runtime(&["no-such-command"])
        .code_is(3)
        .says("No help topic for 'no-such-command'");
    bundle
        .runtime(&["--systemd-cgroup", "--cgroup-manager", "disabled", "list"])
        .code_is(1)
        .says("--systemd-cgroup");
    bundle
        .runtime(&["kill", bundle.id(), "SIGNONE"])
        .code_is(1)
        .says("SIGNONE");
    bundle
        .runtime(&["run", "--bundle", "/nowhere", bundle.id()])
        .code_is(1)
        .says("chdir /nowhere: no such file or directory");

    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 9] = [
        (
            |config| config["linux"]["namespaces"] = json!([{"type": "user"}, {"type": "mount"}]),
            "user namespace",
        ),
        (
            |config| config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "mount"}]),
            "duplicated ns mount",
        ),
        (
            |config| config["linux"]["intelRdt"] = json!({"closID": "a/b"}),
            "invalid intelRdt.ClosID",
        ),
        (|config| config["process"]["args"] = json!([]), "args must not be empty"),
        (
            |config| config["process"]["cwd"] = json!("relative"),
            "must be an absolute path",
        ),
        (
            |config| config["process"]["rlimits"] = json!([{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
            "RLIMIT_X",
        ),
        (
            |config| config["linux"]["sysctl"] = json!({"vm.swappiness": "1"}),
            "not in a separate kernel namespace",
        ),
        (|config| config["root"]["path"] = json!("nowhere"), "invalid rootfs"),
        (|config| config["mounts"][0]["type"] = json!("nofs"), "error mounting"),
    ];
    for (edit, text) in edits {
        let bundle = Bundle::new();
        bundle.edit(edit);
        bundle.run_as_is().code_is(1).says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    }
    fs::write(bundle.file("config.json"), "{\"ociVersion\": 1}").expect("the bundle is ours");
    bundle.run_as_is().code_is(1).says("invalid json");
}

#[test]
fn a_read_only_root_is_so_and_a_volume_beside_it_is_not() {
    let bundle = Bundle::new();
    let volume = bundle.file("volume");
    fs::create_dir(&volume).expect("the scratch folder is ours");
    bundle.edit(|config| {
        config["root"]["readonly"] = json!(true);
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(
            json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rprivate"]}),
        );
    });
    bundle
        .run(&["sh", "-c", "touch /volume/file; touch /file"])
        .code_is(1)
        .says("Read-only file system");
    assert!(fs::exists(format!("{}/file", bundle.file("volume"))).expect("a folder"));
}

/// The words of a command, for a shell; none may need quotes.
fn shell_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let word = |word: &std::ffi::OsStr| {
        let word = word.to_string_lossy().into_owned();
        assert!(
            !word.contains([' ', ';', '$', '"', '\'']),
            "a shell would split {word:?}"
        );
        word
    };
    words.map(word).collect::<Vec<_>>().join(" ")
}

/// Runs a command at a terminal. How the terminal shows that nobody types anything is left out: it may come at any moment.
fn at_a_terminal(command: &Command) -> Finished {
    let mut script = Command::new("script");
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut finished = script
        .args(["-qec", &shell_words(command), "/dev/null"])
        .envs(variables)
        .finish();
    finished.stdout = finished.stdout.replace("^@", "").replace("^D\u{8}\u{8}", "");
    finished
}
