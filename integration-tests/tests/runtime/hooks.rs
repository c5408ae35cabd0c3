//! Hooks: where they run, what they read, and what their failure does.

use std::fs;

use davit_integration_tests::wait;
use serde_json::{Value, json};

use crate::bundle::{Bundle, shell_hook};

#[test]
fn a_create_container_hook_works_in_the_root_of_the_container_on_the_hosts_mounts() {
    let bundle = Bundle::new();
    let seen = bundle.file("seen");
    bundle.edit(|config| {
        config["hooks"]["createContainer"] = shell_hook(&format!("pwd > {seen}; echo hello > ./tmp/made"))
    });
    assert_eq!(bundle.run(&["cat", "/tmp/made"]).ok(), "hello");
    let rootfs = bundle.rootfs().display().to_string();
    assert_eq!(fs::read_to_string(seen).expect("the hook wrote it").trim(), rootfs);
}

#[test]
fn a_poststart_hook_runs_when_the_program_does_and_its_failure_ends_the_container() {
    let bundle = Bundle::new();
    let seen = bundle.file("seen");
    let wait_for_program =
        format!("pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); cat /proc/$pid/comm > {seen}; exit 3");
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["hooks"]["poststart"] = shell_hook(&wait_for_program);
    });
    bundle.create_as(bundle.id()).ok();
    bundle
        .runtime(&["start", bundle.id()])
        .code_is(1)
        .says("poststart hook #0");
    assert_eq!(fs::read_to_string(seen).expect("the hook wrote it").trim(), "sleep");
    wait::until_true("the container has ended", 5, || bundle.state()["status"] == "stopped");
    bundle.runtime(&["delete", bundle.id()]).ok();
    bundle.run_as_is().code_is(1).says("poststart hook #0");
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn a_hook_that_reads_nothing_of_a_large_state_is_in_its_rights_and_one_without_end_is_killed() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        config["annotations"] = json!({"large": "x".repeat(300_000)});
        config["hooks"]["createRuntime"] = shell_hook("exec 0<&-; true");
    });
    assert_eq!(bundle.run(&["echo", "fine"]).ok(), "fine");
    bundle.edit(|config| {
        config["hooks"]["createRuntime"] = shell_hook("exec sleep 600");
        config["hooks"]["createRuntime"][0]["timeout"] = json!(1);
    });
    bundle.run(&["echo", "fine"]).code_is(1).says("timeout");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn a_hook_of_a_foreground_run_hears_signals_though_the_runtime_keeps_its_own() {
    let bundle = Bundle::new();
    let seen = bundle.file("seen");
    bundle.edit(|config| config["hooks"]["prestart"] = shell_hook(&format!("grep SigBlk /proc/self/status > {seen}")));
    bundle.run(&["true"]).ok();
    let blocked = fs::read_to_string(seen).expect("the hook wrote it");
    assert_eq!(blocked.trim(), "SigBlk:\t0000000000000000");
}

#[test]
fn a_start_container_hook_has_the_programs_environment_unless_it_has_its_own() {
    let bundle = Bundle::new();
    let seen = bundle.rootfs().join("seen");
    fs::create_dir(&seen).expect("the rootfs is ours");
    let show = |file: &str| {
        let script = format!("/bin/cat /proc/self/environ > {file}");
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.edit(|config| {
        config["process"]["env"] = json!(["PATH=/bin", "NAME=value", "HOME=/home"]);
        config["hooks"]["startContainer"] = show("/seen/start");
    });
    bundle.run(&["true"]).ok();
    let variables = |file: &str| {
        let text = fs::read_to_string(seen.join(file)).expect("the hook wrote it");
        let shells_own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
        let mut variables: Vec<_> = text
            .split_terminator('\0')
            .filter(|variable| !shells_own.iter().any(|own| variable.starts_with(own)))
            .map(str::to_owned)
            .collect();
        variables.sort_unstable();
        variables
    };
    assert_eq!(variables("start"), ["HOME=/home", "NAME=value", "PATH=/bin"]);
    bundle.edit(|config| config["hooks"]["startContainer"][0]["env"] = json!(["OWN=1", "PATH=/"]));
    bundle.run(&["true"]).ok();
    assert_eq!(variables("start"), ["OWN=1", "PATH=/"]);
}

#[test]
fn poststop_hooks_run_after_a_creation_that_failed_and_their_own_failure_is_a_warning() {
    let bundle = Bundle::new();
    let seen = bundle.file("seen");
    bundle.edit(|config| config["hooks"]["poststop"] = shell_hook(&format!("cat >> {seen}; exit 3")));
    let states = || -> Vec<Value> {
        let text = fs::read_to_string(&seen).unwrap_or_default();
        let states = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
        states.map(|state| state.expect("JSON")).collect()
    };
    for verb in ["create", "run"] {
        let _ = fs::remove_file(&seen);
        bundle.edit(|config| config["hooks"]["createRuntime"] = shell_hook("exit 5"));
        bundle
            .runtime(&[verb, "--bundle", &bundle.path(), bundle.id()])
            .code_is(1)
            .says("createRuntime hook #0: exit status 5")
            .says("level=warning msg=\"error running poststop hook #0: exit status 3");
        let states = states();
        assert_eq!(states.len(), 1, "{verb}");
        assert_eq!(states[0]["status"], "stopped");
        assert_eq!(states[0]["id"], bundle.id());
        assert_eq!(bundle.ids(), Vec::<String>::new());
    }
    // What is refused before anything is made has nothing to be stopped.
    fs::remove_file(&seen).expect("the hook wrote it");
    bundle.edit(|config| config["root"]["path"] = json!("nowhere"));
    bundle.run(&["true"]).code_is(1);
    assert_eq!(states(), Vec::<Value>::new());
}

#[test]
fn no_number_is_too_large_or_too_small_for_a_timeout() {
    let bundle = Bundle::new();
    let with = |timeout: i64| {
        bundle.edit(|config| {
            config["hooks"]["createRuntime"] =
                json!([{"path": "/bin/sleep", "args": ["sleep", "0.2"], "timeout": timeout}]);
        });
        bundle.run(&["echo", "fine"])
    };
    assert_eq!(with(i64::MAX).ok(), "fine");
    for over in [-1, i64::MIN] {
        with(over).code_is(1).says("timeout");
    }
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}

#[test]
fn an_empty_environment_of_a_start_container_hook_is_the_programs() {
    let bundle = Bundle::new();
    for env in [json!([]), json!(null)] {
        bundle.edit(|config| {
            config["process"]["env"] = json!(["PATH=/bin", "OF=the program"]);
            let script = "echo \"$OF\" > /seen";
            config["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": env}]);
        });
        assert_eq!(bundle.run(&["cat", "/seen"]).ok(), "the program");
    }
}
