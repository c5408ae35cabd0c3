//! The command line: runc's words, streams and exit codes.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    process::Command,
};

use davit_integration_tests::{Run, wait};
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
    missing.code_is(1).says("runc run failed: chdir /nowhere: no such file");
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
    fs::create_dir(bundle.root()).expect("the bundle is ours");
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
    fs::create_dir(bundle.root()).expect("the bundle is ours");
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

#[test]
fn the_state_and_the_list_show_annotations() {
    let bundle = Bundle::new();
    let notes = json!({"com.example.note": "kept", "empty": ""});
    bundle.edit(|config| config["annotations"] = notes.clone());
    bundle.sleeping();
    assert_eq!(bundle.state()["annotations"], notes);
    let list: Value = serde_json::from_str(&bundle.runtime(&["list", "--format", "json"]).ok()).expect("JSON");
    assert_eq!(list[0]["annotations"], notes);
}

#[test]
fn the_state_is_that_of_the_specification() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let state = bundle.state();
    let config: Value =
        serde_json::from_slice(&fs::read(bundle.file("config.json")).expect("it was written")).expect("JSON");
    assert_eq!(state["ociVersion"], config["ociVersion"]);
    assert_eq!(
        (&state["id"], &state["bundle"]),
        (&json!(bundle.id()), &json!(bundle.path()))
    );
    assert_eq!(state["rootfs"], json!(bundle.rootfs().display().to_string()));
    let created = state["created"].as_str().expect("a time");
    assert!(created.starts_with("20") && created.ends_with('Z'), "{created}");
    assert!(fs::exists(format!("/proc/{}", state["pid"])).expect("it can be asked"));
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("it is stopped", 10, || bundle.state()["status"] == "stopped");
    assert_eq!(bundle.state()["pid"], 0);
    assert_eq!(bundle.state()["created"], created);
}

#[test]
fn a_signal_without_a_name_is_the_one_to_terminate() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let script = "trap 'echo asked > /said; exit' TERM; echo > /up; while :; do sleep 0.1; done";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    wait::until_true("it listens", 10, || bundle.rootfs().join("up").exists());
    bundle.runtime(&["kill", bundle.id()]).ok();
    wait::until_true("it is stopped", 10, || bundle.state()["status"] == "stopped");
    let said = fs::read_to_string(bundle.rootfs().join("said"));
    assert_eq!(said.expect("it was asked"), "asked\n");
}

#[test]
fn a_containers_processes_are_shown_as_ps_shows_them_or_by_number() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let pid_file = bundle.file("pid");
    let second = ["exec", "--detach", "--pid-file", &pid_file, bundle.id(), "sleep", "700"];
    bundle.runtime(&second).ok();
    let first = bundle.state()["pid"].to_string();
    let second = fs::read_to_string(&pid_file).expect("a pid file");
    let ps = |args: &[&str]| bundle.runtime(&[&["ps"], args].concat());
    // The heading, and the lines in no order: pids begin anew now and then.
    let rows = |args: &[&str]| -> (String, BTreeSet<String>) {
        let text = ps(args).ok();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut rows = text.lines().map(words).map(|row| match row.len() {
            // Of the long form number and program; the rest is of the moment.
            8.. => format!("{} {}", row[1], row[7..].join(" ")),
            _ => row.join(" "),
        });
        (rows.next().unwrap_or_default(), rows.collect())
    };
    for args in [&[bundle.id()][..], &["--format", "table", bundle.id()]] {
        let expected = [format!("{first} sleep 600"), format!("{second} sleep 700")];
        assert_eq!(rows(args), ("PID CMD".into(), expected.into()));
    }
    let expected = [format!("sleep {first}"), format!("sleep {second}")];
    let shown = rows(&[bundle.id(), "-e", "-o", "comm,pid"]);
    assert_eq!(shown, ("COMMAND PID".into(), expected.into()));
    let json = ps(&["-f", "json", bundle.id()]).ok();
    let pids: BTreeSet<u32> = serde_json::from_str(&json).expect("numbers");
    assert_eq!(pids, [&first, &second].map(|pid| pid.parse().expect("a number")).into());
    ps(&[bundle.id(), "-e", "-o", "comm"])
        .code_is(1)
        .says("couldn't find PID field in ps output");
    ps(&[bundle.id(), "--no-such-option"])
        .code_is(1)
        .says("ps: exit status: 1");
    ps(&["--format", "xml", bundle.id()])
        .code_is(1)
        .says("invalid format option");
}

#[test]
fn details_are_logged_on_request_in_either_form() {
    let bundle = Bundle::new();
    let folder = bundle.path();
    let details = |global: &[&str], args: &[&str]| {
        let log = bundle.file("details");
        let _ = fs::remove_file(&log);
        let end = ["--log", &log];
        bundle.runtime(&[global, &end, args].concat()).ok();
        fs::read_to_string(&log).unwrap_or_default()
    };
    bundle.edit(|config| config["process"]["args"] = json!(["true"]));
    let run = ["run", "--bundle", &folder, bundle.id()];
    assert_eq!(details(&[], &run), "");
    assert_eq!(details(&["--debug=false"], &run), "");
    let text = details(&["--debug"], &run);
    assert!(
        text.lines()
            .all(|line| line.starts_with("time=\"") && line.contains(" level=debug msg=")),
        "{text}"
    );
    // What the first process has to say comes through the runtime: it has the log out of sight.
    for said in [
        "\"container init is process ",
        "\"nsexec container setup\"",
        "\"child process in init()\"",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let text = details(&["--debug", "--log-format", "json"], &run);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        lines
            .iter()
            .all(|line| line["level"] == "debug" && line["time"].is_string()),
        "{text}"
    );
    assert!(
        lines.iter().any(|line| line["msg"] == "child process in init()"),
        "{text}"
    );
    bundle.sleeping();
    let text = details(&["--debug"], &["exec", bundle.id(), "true"]);
    assert!(text.contains("\"setns_init: about to exec\""), "{text}");
    // Without a file they are on standard error.
    let finished = bundle.runtime(&["--debug", "exec", bundle.id(), "true"]);
    finished.says("level=debug msg=\"nsexec container setup\"").ok();
}

#[test]
fn another_config_than_the_bundles_is_read_from_where_the_caller_is() {
    let bundle = Bundle::new();
    let (folder, elsewhere) = (bundle.path(), bundle.file("elsewhere"));
    fs::create_dir(&elsewhere).expect("the bundle is ours");
    bundle.edit(|config| config["process"]["args"] = json!(["echo", "the other"]));
    fs::copy(bundle.file("config.json"), format!("{elsewhere}/other.json")).expect("the bundle is ours");
    bundle.edit(|config| config["process"]["args"] = json!(["echo", "the bundle's"]));
    let from = |place: &str, flags: &[&str]| {
        let mut command = bundle.command(&[&["run"], flags, &[bundle.id()]].concat());
        command.current_dir(place).finish()
    };
    assert_eq!(from(&elsewhere, &["--bundle", &folder]).ok(), "the bundle's");
    assert_eq!(from(&folder, &[]).ok(), "the bundle's");
    for flag in ["--config=other.json", "-f=other.json", "-config=other.json"] {
        assert_eq!(
            from(&elsewhere, &[flag, "--bundle", &folder]).ok(),
            "the other",
            "{flag}"
        );
    }
    from(&folder, &["--config", "other.json"])
        .code_is(1)
        .says("JSON specification file other.json not found");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    // What the container was made from counts later, too.
    let other = format!("{elsewhere}/other.json");
    let text = fs::read_to_string(&other).expect("it was written");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    config["process"]["env"] = json!(["PATH=/bin", "FROM=other"]);
    fs::write(&other, config.to_string()).expect("the bundle is ours");
    let create = ["create", "--config", &other, "--bundle", &folder, bundle.id()];
    bundle.runtime(&create).ok();
    assert_eq!(bundle.exec(&["sh", "-c", "echo $FROM"]).ok(), "other");
}

#[test]
fn an_example_is_written_where_none_is_and_runs() {
    let bundle = Bundle::new();
    let folder = bundle.file("here");
    fs::create_dir(&folder).expect("the bundle is ours");
    let spec = || bundle.command(&["spec"]).current_dir(&folder).finish();
    spec().ok();
    let path = format!("{folder}/config.json");
    let written = fs::read_to_string(&path).expect("it was written");
    spec().code_is(1).says("File config.json exists. Remove it first");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), written);
    let config: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(config["process"]["args"], json!(["sh"]));
    bundle
        .runtime(&["spec", "--bundle", "/nowhere"])
        .code_is(1)
        .says("/nowhere");
}

#[test]
fn a_list_is_whole_though_nobody_reads_what_is_wrong() {
    let bundle = Bundle::new();
    bundle.create_as(bundle.id()).ok();
    let damaged = bundle.root().join("damaged");
    fs::create_dir(&damaged).expect("the root is ours");
    fs::write(damaged.join("state.json"), "{").expect("the root is ours");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let listed = bundle.command(&["list", "--quiet"]).stderr(writer).output();
    let listed = listed.expect("the runtime is built");
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(String::from_utf8_lossy(&listed.stdout), format!("{}\n", bundle.id()));
}
