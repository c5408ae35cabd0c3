//! Running hooks: programs that get the container's state on their standard input.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    iter,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use davit_spec::Hook;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::Errno as Kernel,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::errno::Errno;

/// How much of a failed hook's output is repeated, per stream.
const MAX_OUTPUT: u64 = 4096;

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
    // Not a pipe either: a hook that does not read would keep us from minding its timeout when the state is large.
    let mut input = memory().map_err(failed)?;
    input
        .write_all(state.as_bytes())
        .and_then(|()| input.rewind())
        .map_err(failed)?;
    // Not pipes: a hook that says much would wait for a reader, and one that leaves a daemon behind keep us waiting.
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
    let status = wait(&mut child, hook.timeout, process)?;
    if status.success() {
        return Ok(());
    }
    let [stdout, stderr] = output.each_mut().map(text);
    Err(Failure::Exit {
        status: describe(status),
        stdout,
        stderr,
    })
}

fn memory() -> io::Result<File> {
    Ok(memfd_create("hook", MemfdFlags::CLOEXEC)?.into())
}

/// The beginning of what a hook has said; a diagnosis that cannot be read is none.
fn text(output: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = output
        .rewind()
        .and_then(|()| output.take(MAX_OUTPUT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

fn wait(child: &mut Child, timeout: Option<i64>, process: Option<BorrowedFd>) -> Result<ExitStatus, Failure> {
    let limit = timeout.and_then(|seconds| u64::try_from(seconds).ok());
    if limit.is_some() || process.is_some() {
        let failure = match first_end(child, process, limit.map(Duration::from_secs)).map_err(Failure::Io)? {
            End::Hook => None,
            End::Process => Some(Failure::Abandoned),
            End::Time => Some(Failure::Timeout(limit.unwrap_or_default() as f64)),
        };
        if let Some(failure) = failure {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failure);
        }
    }
    child.wait().map_err(|err| Failure::Io(err.into()))
}

/// What comes to its end first.
enum End {
    Hook,
    Process,
    Time,
}

fn first_end(child: &Child, process: Option<BorrowedFd>, limit: Option<Duration>) -> Result<End, Errno> {
    let hook = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let end = limit.map(|limit| Instant::now() + limit);
    let fds = iter::once(hook.as_fd()).chain(process);
    let mut fds: Vec<_> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut fds, left.as_ref()) {
            Err(Kernel::INTR) => continue,
            Ok(0) => return Ok(End::Time),
            Ok(_) if fds[0].revents().is_empty() => return Ok(End::Process),
            Ok(_) => return Ok(End::Hook),
            Err(errno) => return Err(errno.into()),
        }
    }
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
