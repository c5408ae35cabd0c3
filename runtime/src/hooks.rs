//! Running hooks: programs that get the container's state on their standard input.

use std::{
    io::{self, Seek, Write},
    os::{fd::BorrowedFd, unix::process::CommandExt},
    process::{Command, ExitStatus},
    time::Duration,
};

use davit_spec::Hook;

use crate::{
    errno::Errno,
    host_program::{End, memory, text, wait},
};

/// A hook that failed: which one, and how.
#[derive(Debug, thiserror::Error)]
#[error("error running {point} hook #{number}: {failure}")]
pub struct HookError {
    /// `prestart`, `createRuntime` and so on.
    point: &'static str,
    /// Its place in the list, from 0.
    number: usize,
    /// What went wrong.
    failure: Failure,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("fork/exec {0}: {1}")]
    Spawn(String, Errno),
    #[error("{0}")]
    Io(Errno),
    #[error("hook ran past specified timeout of {0:.1}s")]
    Timeout(f64),
    #[error("container init was killed meanwhile")]
    Abandoned,
    #[error("{status}, stdout: {stdout}, stderr: {stderr}")]
    Exit {
        status: String,
        stdout: String,
        stderr: String,
    },
}

/// Runs the hooks of one point in order, until one fails.
pub fn run(point: &'static str, hooks: &[Hook], state: &str) -> Result<(), HookError> {
    run_all(point, hooks, state, None)
}

/// The same for as long as a process lives: for what dies meanwhile nothing needs to be done any more. So a creation whose
/// hook does not end can be ended by killing the container.
pub fn run_for(process: BorrowedFd, point: &'static str, hooks: &[Hook], state: &str) -> Result<(), HookError> {
    run_all(point, hooks, state, Some(process))
}

fn run_all(point: &'static str, hooks: &[Hook], state: &str, process: Option<BorrowedFd>) -> Result<(), HookError> {
    for (number, hook) in hooks.iter().enumerate() {
        run_one(hook, state, process).map_err(|failure| HookError { point, number, failure })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &str, process: Option<BorrowedFd>) -> Result<(), Failure> {
    let failed = |err: io::Error| Failure::Io(err.into());
    let mut input = memory().map_err(failed)?;
    input
        .write_all(state.as_bytes())
        .and_then(|()| input.rewind())
        .map_err(failed)?;
    let mut output = [memory().map_err(failed)?, memory().map_err(failed)?];
    let mut command = Command::new(&hook.path);
    command
        .stdin(input)
        .stdout(output[0].try_clone().map_err(failed)?)
        .stderr(output[1].try_clone().map_err(failed)?);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    if let Some(env) = &hook.env {
        command.env_clear();
        for variable in env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            command.env(name, value);
        }
    }
    let mut child = davit_sys::signals::unblocked(&mut command)
        .spawn()
        .map_err(|err| Failure::Spawn(hook.path.clone(), err.into()))?;
    // Below zero the time is over at once, as with runc.
    let limit = hook.timeout.map(|seconds| u64::try_from(seconds).unwrap_or(0));
    let status = match wait(&mut child, limit.map(Duration::from_secs), process).map_err(Failure::Io)? {
        End::Exited(status) if status.success() => return Ok(()),
        End::Exited(status) => status,
        End::TimedOut => return Err(Failure::Timeout(limit.unwrap_or_default() as f64)),
        End::Abandoned => return Err(Failure::Abandoned),
    };
    let [stdout, stderr] = output.each_mut().map(text);
    Err(Failure::Exit {
        status: describe(status),
        stdout,
        stderr,
    })
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", davit_sys::signals::describe(signal)),
        (None, None) => "ended".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: vec!["sh".into(), "-c".into(), script.into()],
            env: Some(vec!["GREETING=hello".into()]),
            timeout,
        }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        let script = r#"read state; [ "$state" = '{"id":"x"}' ] && [ "$GREETING" = hello ] && [ -z "$CARGO" ]"#;
        run("prestart", &[hook(script, None)], "{\"id\":\"x\"}\n").unwrap();
    }

    #[test]
    fn a_failing_hook_is_reported_with_its_place_and_output() {
        let hooks = [hook("true", None), hook("echo out; echo err >&2; exit 3", None)];
        let err = run("poststart", &hooks, "{}").unwrap_err();
        assert_eq!(
            err.to_string(),
            "error running poststart hook #1: exit status 3, stdout: out, stderr: err"
        );
    }

    #[test]
    fn a_hook_may_say_much_and_leave_a_daemon_behind() {
        let hooks = [hook("head -c 300000 /dev/zero; sleep 5 & exit 0", None)];
        let begun = std::time::Instant::now();
        run("createRuntime", &hooks, "{}").unwrap();
        let err = run(
            "createRuntime",
            &[hook("head -c 300000 /dev/zero | tr '\\0' x; exit 1", None)],
            "{}",
        )
        .unwrap_err();
        assert!(err.to_string().len() < 10_000);
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn a_slow_hook_is_killed_at_its_timeout() {
        let err = run("poststop", &[hook("sleep 30", Some(1))], "{}").unwrap_err();
        assert!(err.to_string().contains("timeout"), "{err}");
    }
}
