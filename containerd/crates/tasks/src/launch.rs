//! A shim's program: `start`, `delete` and `-info`.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use davit_shim_api::task_v2::shim::DeleteResponse;
use protobuf::{Message, well_known_types::any::Any};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    Bundle, Exit, TaskError,
    bootstrap::{self, Endpoint, InvalidReply},
};

/// How long a shim may take to start; generous, since a machine under load starts hundreds at once.
const START: Duration = Duration::from_secs(60);
/// How long the asking for information may take.
const INFORMATION: Duration = Duration::from_secs(10);

/// How often a cleaning up that was killed is begun again: what a dead shim has left has nobody else.
const CLEAN_UP_AGAIN: usize = 2;

/// How long shims may take for what they do at once unless something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The cleaning up after a dead shim.
    pub clean_up: Duration,
    /// The answer of the shim of an earlier run. All are asked at the same time, so that one that hangs does not hold up the
    /// others.
    pub load: Duration,
    /// The agreement to end.
    pub shutdown: Duration,
    /// The state of a process.
    pub state: Duration,
    /// The telling of a task's end, first by the shim and then in its stead. What holds it up does not hold up who waits for the
    /// task.
    pub told: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            clean_up: Duration::from_secs(10),
            load: Duration::from_secs(5),
            shutdown: Duration::from_secs(3),
            state: Duration::from_secs(2),
            told: Duration::from_secs(2),
        }
    }
}

/// What every shim's program is told about this daemon.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// This daemon's version.
    pub version: String,
    /// This daemon's program, which publishes events for shims that cannot do so themselves.
    pub program: PathBuf,
    /// This daemon's gRPC socket.
    pub address: PathBuf,
    /// Where shims forward their events.
    pub ttrpc_address: PathBuf,
    /// Where shims make their sockets.
    pub socket_dir: PathBuf,
    /// Whether shims log at debug level.
    pub debug: bool,
    /// How many open files a shim, and with it its containers, starts with: what this daemon was given, for it may have
    /// raised its own limit.
    pub open_files: Rlimit,
    /// How long shims may take.
    pub timeouts: Timeouts,
}

impl Launcher {
    /// Starts a shim in its bundle and returns where it listens.
    pub(crate) async fn start(
        &self,
        binary: &Path,
        bundle: &Bundle,
        options: Option<&Any>,
    ) -> Result<Endpoint, TaskError> {
        let mut command = self.command(binary, bundle);
        command.arg("start");
        let input = bootstrap::parameters(self, bundle, options);
        let output = run(command, &input, START, Some(self.open_files))
            .await
            .map_err(|failure| TaskError::Start(failure.reason))?;
        Endpoint::parse(&output.stdout).map_err(|error| match error {
            InvalidReply::Version(version) => TaskError::Newer(version),
            error => TaskError::Start(error.to_string()),
        })
    }

    /// Cleans up after a shim that is no more and returns the exit of its task.
    pub(crate) async fn delete(&self, binary: &Path, bundle: &Bundle) -> Result<Exit, TaskError> {
        let delete = || {
            let mut command = self.command(binary, bundle);
            command.arg("-bundle").arg(&bundle.path).arg("delete");
            run(command, &[], self.timeouts.clean_up, None)
        };
        let refused = |reason: String| TaskError::Shim {
            action: "delete",
            reason,
        };
        let mut ended = delete().await;
        for _ in 0..CLEAN_UP_AGAIN {
            match &ended {
                Err(failure) if failure.was_killed => ended = delete().await,
                _ => break,
            }
        }
        let output = ended.map_err(|failure| refused(failure.reason))?;
        let response = DeleteResponse::parse_from_bytes(&output.stdout).map_err(|error| refused(error.to_string()))?;
        Ok(Exit {
            pid: response.pid,
            status: response.exit_status,
            at: response.exited_at.into_option(),
        })
    }

    fn command(&self, binary: &Path, bundle: &Bundle) -> Command {
        let mut command = Command::new(binary);
        command
            .arg("-namespace")
            .arg(bundle.namespace.as_str())
            .arg("-address")
            .arg(&self.address)
            .arg("-publish-binary")
            .arg(&self.program)
            .arg("-id")
            .arg(bundle.id.as_str())
            .args(self.debug.then_some("-debug"))
            .current_dir(&bundle.path)
            .env("GOMAXPROCS", "2")
            .env("MAX_SHIM_VERSION", "2")
            .env("TTRPC_ADDRESS", &self.ttrpc_address)
            .env("GRPC_ADDRESS", &self.address)
            .env("NAMESPACE", bundle.namespace.as_str());
        command
    }
}

/// What a runtime says about itself, with `options` for it: the bytes of a `containerd.types.RuntimeInfo`.
pub async fn runtime_info(runtime: &str, options: Option<&[u8]>) -> Result<Vec<u8>, TaskError> {
    let binary = crate::resolve(runtime)?;
    let mut command = Command::new(binary);
    command.arg("-info");
    let output = run(command, options.unwrap_or_default(), INFORMATION, None)
        .await
        .map_err(|failure| TaskError::Shim {
            action: "-info",
            reason: failure.reason,
        })?;
    Ok(output.stdout)
}

/// How a command failed.
struct Failure {
    reason: String,
    /// By somebody else, and not because it took too long.
    was_killed: bool,
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self {
            reason,
            was_killed: false,
        }
    }
}

/// Runs a command with `input` on its standard input. In a process group of its own, so that a signal from a terminal to this
/// daemon does not reach what the command leaves running.
async fn run(
    mut command: Command,
    input: &[u8],
    limit: Duration,
    open_files: Option<Rlimit>,
) -> Result<Output, Failure> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("fork/exec {program}: {error}"))?;
    if let (Some(open_files), Some(pid)) = (open_files, child.id()) {
        // In time: the program reads its input before it starts anything, and has not been given it yet.
        let pid = Pid::from_raw(pid.cast_signed());
        prlimit(pid, Resource::Nofile, open_files).map_err(|error| format!("limit of open files: {error}"))?;
    }
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let feed = async {
        // A program that does not read its input is no fault.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(limit, both)
        .await
        .map_err(|_| format!("{program} did not end within {} s and was killed", limit.as_secs()))?
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    Err(Failure {
        reason: format!("{}: {}", shortened(&said), ended(output.status)),
        was_killed: output.status.signal().is_some(),
    })
}

/// What a program said: enough of it to see what was wrong, and no more than a gRPC status can carry.
fn shortened(said: &[u8]) -> String {
    const LONGEST: usize = 2048;
    match said.len() > LONGEST {
        false => String::from_utf8_lossy(said).into_owned(),
        true => format!(
            "{}... ({} bytes)",
            String::from_utf8_lossy(&said[..LONGEST]),
            said.len()
        ),
    }
}

/// How a program ended, in the words of Go, which are those of containerd.
fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".into(),
        (None, Some(15)) => "signal: terminated".into(),
        _ => status.to_string(),
    }
}
