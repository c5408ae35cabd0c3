//! What the manager is told by its file, its flags and its name.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use davit_integration_tests::{Manager, Run, Scratch, peers, program, wait};

fn file(scratch: &Scratch, text: &str) -> String {
    let path = scratch.join("config.toml");
    fs::write(&path, text).expect("the folder is ours");
    path.to_str().expect("ASCII").to_owned()
}

fn log(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.join("davit-containerd.log")).expect("the daemon logs")
}

#[test]
fn containerds_own_file_is_taken_and_what_has_no_effect_is_named() {
    let scratch = Scratch::new();
    let theirs = peers::command("containerd").args(["config", "default"]).finish().ok();
    assert!(theirs.contains("io.containerd.snapshotter.v1.btrfs"), "{theirs}");
    // The flags of the test come before its places.
    let manager = Manager::start_with(&scratch, &["--config", &file(&scratch, &theirs)]);
    let said = log(&scratch);
    for key in ["io.containerd.snapshotter.v1.btrfs", "stream_processors"] {
        assert!(
            said.lines()
                .any(|line| line.contains(key) && line.contains("has no effect here")),
            "{said}"
        );
    }
    scratch.ctr(manager.socket()).arg("version").finish().ok();
    manager.stop();
}

#[test]
fn every_key_that_is_taken_takes_effect() {
    let scratch = Scratch::new();
    let ttrpc = scratch.join("ttrpc/events.sock");
    let cgroup = format!("manager-{}", scratch.bridge());
    let text = format!(
        "version = 2\noom_score = 17\n[grpc]\nuid = 1234\ngid = 4321\n[ttrpc]\naddress = {ttrpc:?}\ngid = 77\n\
         [debug]\nformat = 'json'\nlevel = 'error'\n[cgroup]\npath = '{cgroup}'\n"
    );
    let config = file(&scratch, &text);
    let manager = Manager::start_with(&scratch, &["--config", &config]);
    let of = |path: &Path| {
        let status = fs::metadata(path).expect("it listens");
        (status.uid(), status.gid(), status.mode() & 0o777)
    };
    assert_eq!(of(manager.socket()), (1234, 4321, 0o660));
    assert_eq!(of(&ttrpc), (0, 77, 0o660));
    assert_eq!(of(&scratch.join("ttrpc")), (0, 77, 0o710));
    let proc = PathBuf::from(format!("/proc/{}", manager.pid()));
    let read = |name: &str| fs::read_to_string(proc.join(name)).expect("it runs");
    assert_eq!(read("oom_score_adj"), "17\n");
    assert!(
        read("cgroup")
            .lines()
            .any(|line| line.ends_with(&format!(":/{cgroup}")))
    );
    assert_eq!(log(&scratch), "");

    fs::write(&config, text.replace("level = 'error'", "level = 'info'")).expect("the folder is ours");
    let hangup = ["-HUP".to_owned(), manager.pid().to_string()];
    Command::new("kill").args(&hangup).finish().ok();
    wait::until_true("it logs more", 10, || log(&scratch).contains(r#""level":"INFO""#));
    fs::write(&config, "nonsense").expect("the folder is ours");
    Command::new("kill").args(&hangup).finish().ok();
    wait::until_true("it names what is wrong", 10, || {
        log(&scratch).contains("log level stays")
    });
    scratch.ctr(manager.socket()).arg("version").finish().ok();
    manager.stop();
    remove_cgroup(&cgroup);
}

fn remove_cgroup(name: &str) {
    let roots = fs::read_dir("/sys/fs/cgroup").expect("it is mounted").flatten();
    for folder in roots
        .map(|root| root.path().join(name))
        .chain([Path::new("/sys/fs/cgroup").join(name)])
    {
        if folder.exists() {
            wait::until_true("the manager has left its cgroup", 10, || {
                fs::remove_dir(&folder).is_ok()
            });
        }
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named_before_anything_is_made() {
    let scratch = Scratch::new();
    for (text, words) in [
        ("rooot = '/x'\n", "unknown field `rooot`"),
        (
            "[grpc]\ntcp_address = '127.0.0.1:1'\n",
            "grpc.tcp_address is not supported",
        ),
        (
            "[timeouts]\n'io.containerd.timeout.task.state' = 'soon'\n",
            "\"soon\" is not a duration",
        ),
        ("version = 4\n", "version 4 is not supported"),
        ("[cgroup]\npath = '../x'\n", "cgroup.path \"../x\""),
    ] {
        let root = scratch.join("never");
        let mut command = scratch.program("davit-containerd");
        command
            .args(["--config", &file(&scratch, text)])
            .arg("--root")
            .arg(&root);
        command.finish().code_is(1).says(words);
        assert!(!root.exists());
    }
}

#[test]
fn the_name_containerd_has_containerds_places_and_flags() {
    let scratch = Scratch::new();
    let containerd = scratch.join("containerd");
    program::copy(scratch.shared_programs().join("davit-containerd"), &containerd).expect("a program can be copied");
    let run = |arguments: &[&str]| Command::new(&containerd).args(arguments).finish();
    let defaults = run(&["config", "default"]).ok();
    let theirs = peers::command("containerd").args(["config", "default"]).finish().ok();
    for key in ["root = ", "state = ", "address = "] {
        let first = |text: &str| {
            text.lines()
                .map(str::trim)
                .find(|line| line.starts_with(key))
                .map(unquoted)
        };
        assert_eq!(first(&defaults), first(&theirs), "{key}");
    }
    let config = file(&scratch, "[debug]\nlevel = 'warn'\n");
    let dump = run(&["-config", &config, "-root", "/r", "config", "dump"]).ok();
    for line in ["root = \"/r\"", "level = \"warn\""] {
        assert!(dump.contains(line), "{dump}");
    }
}

fn unquoted(line: &str) -> String {
    line.replace('\'', "\"")
}

/// The same call of theirs and ours gives the same.
#[test]
fn a_hook_is_told_of_its_container() {
    let scratch = Scratch::new();
    let bundle = scratch.join("bundle");
    fs::create_dir(&bundle).expect("the folder is ours");
    fs::write(bundle.join("config.json"), r#"{"root":{"path":"rootfs"}}"#).expect("the folder is ours");
    let state = format!(
        r#"{{"ociVersion":"1.0.2","id":"c1","status":"creating","pid":42,"bundle":{bundle:?},"annotations":{{"a/b":"x y"}}}}"#
    );
    let script = "echo $0 $1 $2 $3 $4 $5 $HOOKED; exit 3";
    let words = [
        "{{id}}",
        "{{ pid }}",
        "{{bundle}}",
        "{{rootfs}}",
        "{{annotation \"a/b\"}}",
        "{{status}}",
    ];
    let call = |mut containerd: Command, word: &str| {
        containerd
            .args(["oci-hook", "--", "/bin/sh", "-c", script])
            .args(words)
            .arg(word);
        containerd.env("HOOKED", "{{pid}}").finish_with(state.as_bytes())
    };
    let theirs = call(peers::command("containerd"), "").code_is(3).stdout;
    assert_eq!(call(scratch.program("davit-containerd"), "").code_is(3).stdout, theirs);
    assert!(
        theirs.starts_with("c1 42 ") && theirs.ends_with("x y creating 42\n"),
        "{theirs}"
    );
    call(peers::command("containerd"), "{{nothing}}").code_is(1);
    let refused = call(scratch.program("davit-containerd"), "{{nothing}}");
    refused.code_is(1).says("{{nothing}} is not one of");
}

/// A connection that is refused ends at once; one that is served waits for a request.
#[test]
fn events_are_taken_from_the_managers_own_user_alone() {
    let scratch = Scratch::new();
    let ttrpc = scratch.join("ttrpc/events.sock");
    let text = format!("version = 3\n[ttrpc]\naddress = {ttrpc:?}\ngid = 77\n");
    let manager = Manager::start_with(&scratch, &["--config", &file(&scratch, &text)]);
    // The way to the socket is the group's, too.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o711)).expect("the folder is ours");
    let connect = "use Socket; alarm 2; socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; \
                   connect($s, sockaddr_un($ARGV[0])) or die \"connect: $!\"; print sysread($s, my $b, 1) // 'reset';";
    let perl = |identity: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(identity).args(["perl", "-e", connect]).arg(&ttrpc);
        command.finish()
    };
    let stranger = perl(&["--reuid=65534", "--regid=77", "--clear-groups"])
        .code_is(0)
        .stdout;
    assert!(stranger == "0" || stranger == "reset", "{stranger}");
    // The alarm ends it.
    perl(&["--reuid=0"]).code_is(128 + 14);
    manager.stop();
}
