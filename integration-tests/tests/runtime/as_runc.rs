//! What runc's users rely on without thinking of it; each was first seen with runc.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    process::{Command, Stdio},
};

use davit_integration_tests::{Run, wait};
use nix::libc;
use serde_json::json;

use crate::{bundle::Bundle, update::control_file};

#[test]
fn an_id_of_minus_one_is_nobody_and_not_root() {
    let bundle = sleeper();
    for (user, refusal) in [
        ("4294967295", "cannot setuid to unmapped uid 4294967295"),
        ("1:4294967295", "cannot setgid to unmapped gid 4294967295"),
    ] {
        let args = ["exec", "--user", user, bundle.id(), "id"];
        bundle.runtime(&args).code_is(255).says(refusal);
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 4294967295u32, "gid": 0}));
    bundle
        .run(&["id"])
        .code_is(1)
        .says("cannot setuid to unmapped uid 4294967295");
}

#[test]
fn another_runtimes_container_is_left_alone() {
    let bundle = Bundle::new();
    let folder = bundle.root().join("other");
    fs::create_dir_all(&folder).expect("the bundle is ours");
    let record = json!({"id": "other", "init_process_pid": 1, "init_process_start": 1, "cgroup_paths": {}});
    fs::write(folder.join("state.json"), record.to_string()).expect("the bundle is ours");
    for args in [&["state", "other"][..], &["delete", "--force", "other"]] {
        bundle.runtime(args).code_is(1).says("written by another runtime");
    }
    assert!(folder.join("state.json").exists());
}

#[test]
fn streams_of_a_detached_container_get_its_user_and_keep_their_group() {
    let bundle = Bundle::new();
    let output = bundle.file("output");
    bundle.edit(|config| {
        config["process"]["user"] = json!({"uid": 1000, "gid": 1001});
        config["process"]["args"] = json!(["sh", "-c", "echo hello > /dev/stdout"]);
    });
    let mut run = bundle.command(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()]);
    run.stdin(Stdio::null()).stderr(Stdio::null());
    run.stdout(fs::File::create(&output).expect("the bundle is ours"));
    assert!(run.status().expect("the runtime is built").success());
    let owner = fs::metadata(&output).expect("it was made");
    assert_eq!((owner.uid(), owner.gid()), (1000, 0));
}

#[test]
fn a_hook_has_the_callers_mask_and_without_an_environment_of_its_own_the_callers() {
    let bundle = Bundle::new();
    let (made, said) = (bundle.file("made"), bundle.file("said"));
    let script = format!("touch {made}");
    let speaks = |moment: &str| format!("echo {moment} $FRUIT >> {said}");
    let hook = |script: String, env: Option<&[&str]>| {
        let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        if let Some(env) = env {
            hook["env"] = json!(env);
        }
        hook
    };
    bundle.edit(|config| {
        config["process"]["args"] = json!(["true"]);
        config["hooks"]["createContainer"] = json!([hook(script, None)]);
        config["hooks"]["createRuntime"] = json!([
            hook(speaks("absent"), None),
            hook(speaks("empty"), Some(&[])),
            hook(speaks("own"), Some(&["FRUIT=fig"])),
        ]);
    });
    let mut run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    run.env("FRUIT", "apple").finish().ok();
    assert_eq!(
        fs::read_to_string(said).expect("a hook has written"),
        "absent apple\nempty\nown fig\n"
    );
    let mode = fs::metadata(made).expect("a hook has made it").mode() & 0o777;
    assert_eq!(mode, 0o666 & !own_mask());
}

#[test]
fn without_a_word_on_capabilities_they_stay_as_they_are() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        drop(
            config["process"]
                .as_object_mut()
                .expect("an object")
                .remove("capabilities"),
        )
    });
    let own = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = |status: &str, name: &str| status.lines().find(|line| line.starts_with(name)).map(str::to_owned);
    let inside = bundle.run(&["cat", "/proc/self/status"]).ok();
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(line(&inside, name), line(&own, name));
    }
}

#[test]
fn arguments_are_taken_as_go_takes_them() {
    let bundle = sleeper();
    let id = bundle.id();
    // A script's --pid-file "$FILE", a wrapper's second flag, and what follows the container's id.
    bundle.runtime(&["exec", "--pid-file", "", "--cwd=", id, "true"]).ok();
    assert_eq!(
        bundle.runtime(&["exec", "-u", "1", "-u", "2", id, "id", "-u"]).ok(),
        "2"
    );
    bundle
        .runtime(&["exec", id, "-t", "true"])
        .code_is(255)
        .says("executable file not found");
    let list = bundle.runtime(&["ps", id, "-f"]).ok();
    assert!(list.contains("PPID") && list.contains("sleep 600"), "{list}");
    bundle
        .runtime(&[
            "--criu",
            "criu",
            "--root",
            "/nowhere",
            "--root",
            &bundle.root().display().to_string(),
            "state",
            id,
        ])
        .code_is(0)
        .says("--criu is ignored");
    // What follows a flag is its value, whatever that looks like; and numbers have Go's bases.
    let env = bundle
        .runtime(&["exec", "-e", "-X=1", "--env", "--foo=2", id, "env"])
        .ok();
    assert!(env.contains("-X=1\n") && env.contains("--foo=2\n"), "{env}");
    bundle
        .runtime(&["exec", "-e", "", id, "true"])
        .code_is(255)
        .says("environment variable");
    bundle
        .runtime(&["list", "--format", ""])
        .code_is(1)
        .says("invalid format");
    bundle.runtime(&["update", "--pids-limit", "010", id]).ok();
    assert_eq!(control_file(&bundle, "pids", "pids.max", "pids.max"), "8");
    bundle
        .runtime(&["events", "--interval", "soon", id])
        .code_is(1)
        .says("invalid value \\\"soon\\\" for flag -interval");
    bundle.runtime(&["kill", id, ""]).ok();
}

#[test]
fn properties_may_be_written_in_any_case() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["root"] = json!({"Path": "rootfs", "readOnly": true});
        let process = config["process"].as_object_mut().expect("an object");
        process.remove("noNewPrivileges");
        process.insert("nonewprivileges".into(), json!(true));
    });
    let script = "grep NoNewPrivs /proc/self/status; touch /made";
    let finished = bundle
        .run(&["sh", "-c", script])
        .code_is(1)
        .says("Read-only file system");
    assert_eq!(finished.stdout, "NoNewPrivs:\t1\n");
}

#[test]
fn a_container_that_one_may_not_look_for_is_not_gone() {
    let bundle = sleeper();
    let runtime = bundle.private_runtime();
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).expect("the bundle is ours");
    // Nobody else may enter what the runtime has made.
    let mode = fs::metadata(bundle.root()).expect("it was made").mode();
    assert_eq!(mode & 0o7777, 0o700);
    for args in [&["delete", "--force"][..], &["delete"], &["state"]] {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=1000", "--regid=1000", "--clear-groups"])
            .arg(&runtime);
        command.arg("--root").arg(bundle.root()).args(args).arg(bundle.id());
        command.finish().code_is(1).says("permission denied");
    }
    assert_eq!(bundle.state()["status"], "running");
}

#[test]
fn a_root_that_is_named_is_there() {
    let bundle = sleeper();
    let nowhere = bundle.file("nowhere");
    for form in [&["list"][..], &["list", "--quiet"]] {
        let mut command = Command::new(bundle.command(&[]).get_program());
        command.args(["--root", &nowhere]).args(form);
        command.finish().code_is(1).says("nowhere: no such file or directory");
    }
    assert!(!fs::exists(nowhere).expect("the bundle is ours"));
}

#[test]
fn options_of_a_file_system_may_come_together_or_be_empty() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts
            .push(json!({"destination": "/one", "type": "tmpfs", "source": "t", "options": ["", "size=1m,mode=750"]}));
        mounts.push(json!({"destination": "/two", "source": "/etc", "options": ["bind", ""]}));
    });
    let script = "stat -c %a /one; grep -c ' /one tmpfs .*size=1024k' /proc/mounts; ls /two/hostname";
    assert_eq!(bundle.run(&["sh", "-c", script]).ok(), "750\n1\n/two/hostname");
}

#[test]
fn a_filter_that_says_nothing_is_none() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["seccomp"] = json!({}));
    let seen = bundle.run(&["grep", "Seccomp:", "/proc/self/status"]).ok();
    let own = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    assert!(own.contains(&seen), "{seen}");
}

#[test]
fn a_stream_that_is_the_null_device_waits_like_any_other() {
    let bundle = Bundle::new();
    let script = "grep -h flags /proc/self/fdinfo/0 > /flags";
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    let mut run = bundle.command(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()]);
    run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(run.status().expect("the runtime is built").success());
    let flags = wait::until("the program has looked", 10, || {
        let text = fs::read_to_string(bundle.rootfs().join("flags")).ok()?;
        text.strip_suffix('\n')?.strip_prefix("flags:\t").map(str::to_owned)
    });
    let flags = i32::from_str_radix(&flags, 8).expect("octal");
    assert_eq!(flags & libc::O_NONBLOCK, 0, "{flags:o}");
}

#[test]
fn descriptors_are_taken_from_who_names_this_process_alone() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["true"]));
    let mut run = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    run.env("LISTEN_FDS", "2").env_remove("LISTEN_PID").finish().ok();
    bundle.sleeping();
    let mut exec = bundle.command(&["exec", bundle.id(), "true"]);
    exec.env("LISTEN_FDS", "2").env_remove("LISTEN_PID").finish().ok();
}

#[test]
fn what_no_config_can_be_is_refused() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/d", "type": "c", "major": 99999999, "minor": 3}])
    });
    bundle.run(&["true"]).code_is(1).says("incorrect major:minor");
    fs::write(bundle.file("config.json"), "[]").expect("the bundle is ours");
    bundle.run_as_is().code_is(1).says("an object is expected");
}

#[test]
fn the_root_of_a_state_is_a_plain_path() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["root"]["path"] = json!("./images/../rootfs/"));
    fs::create_dir(bundle.file("images")).expect("the bundle is ours");
    bundle.sleeping();
    assert_eq!(bundle.state()["rootfs"], json!(bundle.rootfs()));
}

#[test]
fn a_destination_may_take_a_detour_through_what_is_not_there() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/absent/../there/", "type": "tmpfs", "source": "tmpfs"}));
    });
    let table = bundle.run(&["cat", "/proc/self/mounts"]).ok();
    assert!(table.contains("tmpfs /there tmpfs"), "{table}");
    bundle.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("a list")
            .last_mut()
            .expect("one")["destination"] = json!("/bin/sh")
    });
    bundle.run(&["true"]).code_is(1).says("not a directory");
}

#[test]
fn a_bundle_is_known_by_its_own_path() {
    let bundle = Bundle::new();
    let link = bundle.file("link");
    std::os::unix::fs::symlink(bundle.path(), &link).expect("the bundle is ours");
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&[
            "run",
            "--detach",
            "--bundle",
            &format!("{link}/../{}/.", bundle.id()),
            bundle.id(),
        ])
        .ok();
    assert_eq!(bundle.state()["bundle"], bundle.path());
    bundle
        .runtime(&["create", "--bundle", "/nowhere", "other"])
        .code_is(1)
        .says("chdir /nowhere: no such file or directory");
}

#[test]
fn a_tunnel_may_be_opened_without_a_rule_of_its_own() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]}));
    let node = bundle.rootfs().join("tun");
    Command::new("mknod").arg(node).args(["c", "10", "200"]).finish().ok();
    // Without the rule: operation not permitted. With it: whatever the kernel says of a node that it has a driver for or not.
    let output = bundle.run(&["sh", "-c", ": < /tun"]);
    assert!(
        output.code == 0 || output.stderr.contains("No such device"),
        "{output:?}"
    );
}

fn sleeper() -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    bundle
}

fn own_mask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(mask.expect("since Linux 4.7").trim(), 8).expect("octal")
}
