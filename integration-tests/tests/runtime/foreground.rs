//! A runtime that stays: until its process ends, with signals and a terminal between it and the caller.

use std::process::{Child, Command, Stdio};

use davit_integration_tests::wait;
use serde_json::json;

use crate::Bundle;

/// How long an end may take on a busy machine.
const PATIENCE: u64 = 30;

impl Bundle {
    /// `run` of a shell's script in the foreground, with nothing to read or to say.
    fn running(&self, terminal: bool, script: &str) -> Command {
        self.edit(|config| {
            config["process"]["terminal"] = json!(terminal);
            config["process"]["args"] = json!(["sh", "-c", script]);
        });
        let mut command = self.command(&["run", "--bundle", &self.path(), self.id()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// The exit code of a runtime, in which the end may have been missed.
#[track_caller]
fn end(child: &mut Child) -> Option<i32> {
    let status = wait::until("the runtime ends", PATIENCE, || child.try_wait().expect("a child"));
    status.code()
}

/// A command whose arguments are another one.
fn with(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

#[test]
fn a_caller_who_ignores_the_end_of_children_still_gets_an_exit_code() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        for point in ["createRuntime", "poststart", "poststop"] {
            config["hooks"][point] = json!([{"path": "/bin/true"}]);
        }
    });
    let ignoring = |command: &Command| {
        // Not by a shell's trap: dash, for one, does not let it out.
        let mut env = Command::new("env");
        env.arg("--ignore-signal=CHLD");
        let mut command = with(env, command);
        end(&mut bundle.spawn(command.stdin(Stdio::null()).stdout(Stdio::null())))
    };
    assert_eq!(ignoring(&bundle.running(false, "exit 7")), Some(7));
    assert_eq!(ignoring(&bundle.running(true, "exit 8")), Some(8));
    assert_eq!(bundle.ids(), Vec::<String>::new());

    bundle.running(false, "sleep 600");
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    assert_eq!(ignoring(&bundle.command(&["exec", bundle.id(), "false"])), Some(1));
}
