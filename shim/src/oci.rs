//! The OCI runtime: a program that is called like runc.

mod log;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use davit_shim_api::options::oci::Options;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::reaper::{ExitReceiver, Reaper};

/// The runtime of a bundle that names no other.
const OWN_RUNTIME: &str = "davit-runtime";

/// Where our runtime keeps its state; a namespace has a folder of its own in it.
const DEFAULT_ROOT: &str = "/run/davit/runc";

/// The most of a runtime's stderr that gets into an error, in bytes.
const STDERR_KEPT: u64 = 4096;

/// A runtime with the arguments that all calls share.
#[derive(Debug, Clone)]
pub struct Oci {
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
    reaper: Arc<Reaper>,
}

/// A runtime on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct OciState {
    binary: PathBuf,
    root: PathBuf,
    systemd_cgroup: bool,
}

/// What the runtime's own streams are. The container inherits those of `create` and `exec`.
#[derive(Debug)]
pub enum CallStdio {
    /// Nothing goes in, stderr is kept for the error.
    Captured,
    /// Bytes go in, stderr is kept for the error.
    Input(Vec<u8>),
    /// stdin, stdout, stderr.
    Inherited([Stdio; 3]),
}

/// A runtime that could not be run or that failed.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It did not start. In Go's words: Docker looks for them.
    #[error("{what}: {reason}")]
    Spawn {
        /// The failure in Docker's words.
        what: &'static str,
        /// Which program, and why.
        reason: String,
    },
    /// It started and failed.
    #[error("{what}: {message}")]
    Failed {
        /// The failure in Docker's words.
        what: &'static str,
        /// The last error in its log, or what else is known.
        message: String,
    },
}

fn in_words(binary: &Path, bundle: &Path, error: &io::Error) -> String {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    // What is missing may be the folder that the program is to run in.
    if is_missing && !bundle.exists() {
        return format!("bundle {}: {error}", bundle.display());
    }
    let binary = binary.display().to_string();
    if is_missing && !binary.contains('/') {
        return format!("exec: {binary:?}: executable file not found in $PATH");
    }
    format!("fork/exec {binary}: {error}")
}

/// The folder of a call's log.
fn folder_of(log: &Path) -> &Path {
    log.parent().unwrap_or(Path::new("/"))
}

impl OciError {
    /// The runtime's own words.
    pub fn message(&self) -> &str {
        match self {
            Self::Spawn { .. } => "",
            Self::Failed { message, .. } => message,
        }
    }
}

impl Oci {
    /// The runtime that the options name, or ours.
    pub fn new(options: &Options, namespace: &str, reaper: Arc<Reaper>) -> Self {
        Self {
            binary: binary(&options.binary_name),
            root: root(options, namespace),
            systemd_cgroup: options.systemd_cgroup,
            reaper,
        }
    }

    /// The runtime, for another program of ours.
    pub fn pack(&self) -> OciState {
        OciState {
            binary: self.binary.clone(),
            root: self.root.clone(),
            systemd_cgroup: self.systemd_cgroup,
        }
    }

    /// The runtime of another program of ours.
    pub fn unpack(state: OciState, reaper: Arc<Reaper>) -> Self {
        Self {
            binary: state.binary,
            root: state.root,
            systemd_cgroup: state.systemd_cgroup,
            reaper,
        }
    }

    /// The call that removes a container whatever state it is in, for who has no reaper.
    pub fn deletion(options: &Options, namespace: &str, id: &str) -> Command {
        let mut command = Command::new(binary(&options.binary_name));
        command.arg("--root").arg(root(options, namespace));
        if options.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        command.args(["delete", "--force", id]);
        command
    }

    /// The call that prints what the runtime can do.
    pub fn features(options: &Options) -> Command {
        let mut command = Command::new(binary(&options.binary_name));
        command.arg("features");
        command
    }

    /// Runs `VERB ARGUMENTS` and waits for it. Errors begin with `what`; they end with the last one in the runtime's log.
    pub async fn call(
        &self,
        what: &'static str,
        log: &Path,
        arguments: &[&OsStr],
        stdio: CallStdio,
    ) -> Result<(), OciError> {
        let (_keeper, never) = watch::channel(false);
        self.call_until(never, what, log, arguments, stdio).await
    }

    /// The same with a runtime that is killed when `killed` becomes true.
    pub async fn call_until(
        &self,
        mut killed: watch::Receiver<bool>,
        what: &'static str,
        log: &Path,
        arguments: &[&OsStr],
        stdio: CallStdio,
    ) -> Result<(), OciError> {
        let log_start = log::length(log);
        let started = self.spawn(log, arguments, stdio).map_err(|source| OciError::Spawn {
            what,
            reason: in_words(&self.binary, folder_of(log), &source),
        });
        let (child, mut exit, stderr) = started?;
        let exit = tokio::select! {
            biased;
            exit = &mut exit => exit,
            () = becomes_true(&mut killed) => {
                // Its exit has not been taken: the pid is its own.
                let _ = kill_process(Pid::from_child(&child), Signal::KILL);
                exit.await
            }
        };
        drop(child);
        let status = exit.map_or(255, |exit| exit.status);
        if status == 0 {
            return Ok(());
        }
        let message = log::last_error(log, log_start).unwrap_or_else(|| {
            let said = stderr.map(read_rest).unwrap_or_default();
            format!(
                "{} did not terminate successfully: exit status {status}: {said}",
                self.binary.display()
            )
        });
        Err(OciError::Failed { what, message })
    }

    fn spawn(
        &self,
        log: &Path,
        arguments: &[&OsStr],
        stdio: CallStdio,
    ) -> io::Result<(Child, ExitReceiver, Option<OwnedFd>)> {
        let mut command = self.command(log);
        command.args(arguments);
        let mut stderr = None;
        let (stdin, stdout, err) = match stdio {
            CallStdio::Inherited([stdin, stdout, stderr]) => (stdin, stdout, stderr),
            CallStdio::Captured => (Stdio::null(), Stdio::null(), captured(&mut stderr)?),
            CallStdio::Input(bytes) => (input(&bytes)?, Stdio::null(), captured(&mut stderr)?),
        };
        command.stdin(stdin).stdout(stdout).stderr(err);
        let (child, exit) = self.reaper.spawn(&mut command)?;
        Ok((child, exit, stderr))
    }

    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg("--root")
            .arg(&self.root)
            .arg("--log")
            .arg(log)
            .args(["--log-format", "json"])
            // Where the log is: a program around a runtime expects the bundle.
            .current_dir(folder_of(log));
        if self.systemd_cgroup {
            command.arg("--systemd-cgroup");
        }
        for (name, _) in env::vars_os().filter(|(name, _)| is_allocator_setting(name)) {
            command.env_remove(name);
        }
        command
    }
}

/// Waits for it; without anybody who could set it, for ever.
pub async fn becomes_true(flag: &mut watch::Receiver<bool>) {
    if flag.wait_for(|is_set| *is_set).await.is_err() {
        std::future::pending().await
    }
}

fn is_allocator_setting(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("MALLOC_"))
}

fn binary(wanted: &str) -> PathBuf {
    if !wanted.is_empty() {
        return wanted.into();
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(OWN_RUNTIME)));
    beside
        .filter(|path| path.exists())
        .unwrap_or_else(|| OWN_RUNTIME.into())
}

fn root(options: &Options, namespace: &str) -> PathBuf {
    let root = if options.root.is_empty() {
        DEFAULT_ROOT
    } else {
        &options.root
    };
    Path::new(root).join(namespace)
}

fn captured(reader: &mut Option<OwnedFd>) -> io::Result<Stdio> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Nobody reads until the end: more than the pipe holds must not stop the runtime.
    for end in [&read, &write] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    *reader = Some(read);
    Ok(write.into())
}

/// A file in memory, since a pipe might not take all bytes at once.
fn input(bytes: &[u8]) -> io::Result<Stdio> {
    use std::io::{Seek, Write};
    let mut file: std::fs::File = rustix::fs::memfd_create("runtime-stdin", rustix::fs::MemfdFlags::CLOEXEC)?.into();
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// What a program that has ended had written, up to a limit.
pub fn read_rest(pipe: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // An error ends what can be read.
    let _ = std::fs::File::from(pipe).take(STDERR_KEPT).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
