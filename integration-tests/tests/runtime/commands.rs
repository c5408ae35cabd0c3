//! The command line: runc's words, streams and exit codes.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    process::Command,
};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use crate::bundle::Bundle;

#[test]
fn the_version_is_in_the_lines_that_containerd_and_docker_look_for() {
    let bundle = Bundle::new();
    for flag in ["--version", "-v"] {
        let output = bundle.command(&[flag]).finish().ok();
        let lines: Vec<&str> = output.lines().collect();
        assert!(lines[0].starts_with("davit-runtime version 0."), "{output}");
        assert!(lines[1].starts_with("commit: "), "{output}");
        assert_eq!(lines[2], "spec: 1.3.0");
        assert!(lines[3].starts_with("libseccomp: 2."), "{output}");
    }
}

#[test]
fn a_runtime_that_stands_in_for_runc_answers_to_its_name() {
    let bundle = Bundle::new();
    let link = bundle.file("runc");
    symlink(bundle.command(&[]).get_program(), &link).expect("the bundle is ours");
    let help = Command::new(&link).args(["run", "--help"]).finish().ok();
    let mut lines = help.lines();
    assert_eq!(lines.next(), Some("NAME:"));
    assert!(lines.next().expect("a line").starts_with("   runc run - "), "{help}");
    assert!(
        Command::new(&link)
            .arg("--version")
            .finish()
            .ok()
            .starts_with("runc version ")
    );
    let missing = Command::new(&link).args(["run", "--bundle", "/nowhere", "x"]).finish();
    missing.code_is(1).says("runc run failed: JSON specification file");
}

#[test]
fn every_command_has_a_page_of_help() {
    let bundle = Bundle::new();
    let page = bundle.command(&[]).finish().ok();
    assert!(
        page.starts_with("NAME:\n   davit-runtime - Open Container Initiative runtime\n"),
        "{page}"
    );
    let commands: Vec<&str> = page
        .lines()
        .skip_while(|line| *line != "COMMANDS:")
        .skip(1)
        .take_while(|line| !line.is_empty() && line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for name in ["checkpoint", "create", "delete", "exec", "features", "run", "update"] {
        assert!(commands.contains(&name), "{commands:?}");
    }
    for name in commands {
        let expected = format!("NAME:\n   davit-runtime {name} - ");
        for args in [[name, "-h"], ["help", name], [name, "--help"]] {
            let page = bundle.command(&args).finish().ok();
            assert!(page.starts_with(&expected), "{page}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_answered_as_runc_does() {
    let bundle = Bundle::new();
    let cases: [(&[&str], i32, &str); 11] = [
        (&["nothing"], 3, "No help topic for 'nothing'"),
        (&["nothing", "-h"], 3, "No help topic for 'nothing'"),
        (&["--nope"], 1, "flag provided but not defined: -nope"),
        (&["run", "--nope", "x"], 1, "flag provided but not defined: -nope"),
        (&["run"], 1, "\\\"run\\\" requires exactly 1 argument(s)"),
        (&["start", "a", "b"], 1, "\\\"start\\\" requires exactly 1 argument(s)"),
        (&["kill"], 1, "\\\"kill\\\" requires a minimum of 1 argument(s)"),
        (
            &["kill", "a", "b", "c"],
            1,
            "\\\"kill\\\" requires a maximum of 2 argument(s)",
        ),
        (
            &["run", "--preserve-fds", "x", "y"],
            1,
            "invalid value \\\"x\\\" for flag -preserve-fds",
        ),
        (&["--log-format", "bad", "list"], 1, "invalid log-format: bad"),
        (&["list", "--format", "bad"], 1, "invalid format option"),
    ];
    for (args, code, text) in cases {
        let finished = bundle.command(args).finish().code_is(code).says(text);
        assert!(finished.stderr.starts_with("time=\""), "{}", finished.stderr);
        assert_eq!(
            finished.stdout.starts_with("Incorrect Usage"),
            text.contains("flag -") || text.contains(": -") || text.contains("argument(s)"),
            "{}",
            finished.stdout
        );
    }
    let log = bundle.file("log");
    bundle
        .command(&["--log", &log, "--log-format", "json", "run", "--nope"])
        .finish()
        .code_is(1);
    let line: Value = serde_json::from_str(&fs::read_to_string(log).expect("a log")).expect("a line of JSON");
    assert_eq!(line["msg"], "flag provided but not defined: -nope");
}

#[test]
fn flags_may_be_written_as_go_programs_take_them() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["echo", "fine"]));
    let finished = bundle
        .command(&["-debug=false", "run", "-bundle", &bundle.path(), bundle.id()])
        .finish();
    assert_eq!(finished.ok(), "fine");
}

#[test]
fn a_list_has_runcs_columns_and_an_owner() {
    let bundle = Bundle::new();
    assert_eq!(bundle.runtime(&["list", "--format", "json"]).ok(), "null");
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle.create_as(bundle.id()).ok();
    let table = bundle.runtime(&["list"]).ok();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert_eq!([rows[1][0], rows[1][2], rows[1][5]], [bundle.id(), "created", "root"]);
    let json: Value = serde_json::from_str(&bundle.runtime(&["list", "-f", "json"]).ok()).expect("JSON");
    assert_eq!(json[0]["owner"], "root");
    assert_eq!(json[0]["pid"], bundle.state()["pid"]);
    assert_eq!(bundle.state()["owner"], "");
    bundle.runtime(&["delete", bundle.id()]).ok();
}

#[test]
fn features_name_what_a_container_can_be_given() {
    let bundle = Bundle::new();
    let features: Value = serde_json::from_str(&bundle.runtime(&["features"]).ok()).expect("JSON");
    assert_eq!(features["ociVersionMax"], "1.3.0");
    let names = |list: &Value| {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|name| name.as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    // Each option is one that a mount takes.
    for option in names(&features["mountOptions"]) {
        assert!(!option.is_empty());
    }
    let namespaces = names(&features["linux"]["namespaces"]);
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
        assert!(namespaces.iter().any(|name| name == kind), "{namespaces:?}");
    }
}

#[test]
fn a_kept_container_stays_and_one_of_a_pid_file_is_named_in_it() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["true"]));
    let pid_file = bundle.file("pid");
    let args = [
        "run",
        "--keep",
        "--pid-file",
        &pid_file,
        "--bundle",
        &bundle.path(),
        bundle.id(),
    ];
    bundle.command(&args).finish().ok();
    assert_eq!(bundle.state()["status"], "stopped");
    assert!(
        fs::read_to_string(&pid_file)
            .expect("a pid file")
            .parse::<u32>()
            .is_ok()
    );
    bundle.runtime(&["delete", bundle.id()]).ok();
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn a_path_that_is_no_text_is_refused_before_anything_is_made() {
    let bundle = Bundle::new();
    let strange = bundle.root().with_file_name(OsStr::from_bytes(b"no\xfftext"));
    fs::create_dir(&strange).expect("the scratch folder is ours");
    fs::copy(bundle.file("config.json"), strange.join("config.json")).expect("a config");
    symlink(bundle.rootfs(), strange.join("rootfs")).expect("the folder is ours");
    let refused = |command: &mut Command| {
        let finished = command.finish().code_is(1).says("no\\\\xFFtext");
        finished.says("must be valid UTF-8");
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    };
    for verb in ["create", "run", "restore"] {
        let command = || bundle.command(&[verb]);
        refused(command().arg("--bundle").arg(&strange).arg(bundle.id()));
        refused(command().arg(bundle.id()).current_dir(&strange));
    }
    assert_eq!(bundle.ids(), Vec::<String>::new());

    let root = strange.join("state");
    let mut command = Command::new(bundle.command(&[]).get_program());
    refused(
        command
            .arg("--root")
            .arg(&root)
            .args(["run", "--bundle", &bundle.path(), bundle.id()]),
    );
    assert!(!root.exists());
}

#[test]
fn a_container_starts_under_a_memory_limit_of_512_kib() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["resources"]["memory"] = json!({"limit": 512 * 1024}));
    assert_eq!(bundle.run(&["echo", "small"]).ok(), "small");
}
