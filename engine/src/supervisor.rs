//! The engine's own manager: started, found again, started again when it dies, and left alone while containers run.
//!
//! The manager is a process of its own group that knows nothing of this one: when the engine dies, however it dies, the manager
//! lives on and the next engine finds it by its socket. Who holds the socket is asked of the kernel (SO_PEERCRED), so that no
//! pid file can be wrong.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{net::UnixStream, process::Command, sync::watch, time::Instant};
use tracing::{info, warn};

use crate::{arguments::Options, programs};

/// How long a manager may take to open its socket.
const START_TIME: Duration = Duration::from_secs(15);
/// How long it may take to end.
const END_TIME: Duration = Duration::from_secs(10);
/// A manager that lived less long is started again after a pause.
const SHORT_LIFE: Duration = Duration::from_secs(5);

/// Where our own manager listens.
pub fn address(options: &Options) -> PathBuf {
    options.exec_root.join("containerd/containerd.sock")
}

/// Keeps a manager alive.
pub struct Supervisor {
    pid: watch::Receiver<Option<i32>>,
    keeper: tokio::task::JoinHandle<()>,
}

impl Supervisor {
    /// Returns when a manager answers: one from before, or a new one.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let plan = Plan::new(options)?;
        let first = plan.find_or_start().await?;
        let (sender, pid) = watch::channel(Some(first));
        let keeper = tokio::spawn(keep(plan, first, sender));
        Ok(Self { pid, keeper })
    }

    /// The engine ends in order: the manager with it, unless containers run.
    pub async fn end(self, containers_run: bool) {
        self.keeper.abort();
        let Some(pid) = *self.pid.borrow() else { return };
        if containers_run {
            return info!(pid, "containers run: the manager stays");
        }
        if kill(Pid::from_raw(pid), Signal::SIGTERM).is_err() {
            return;
        }
        if tokio::time::timeout(END_TIME, ended(pid)).await.is_err() {
            warn!(pid, "the manager does not end");
        }
    }
}

struct Plan {
    program: PathBuf,
    root: PathBuf,
    state: PathBuf,
    address: PathBuf,
    log: PathBuf,
    log_level: String,
}

impl Plan {
    fn new(options: &Options) -> anyhow::Result<Self> {
        let state = options.exec_root.join("containerd");
        for folder in [&options.data_root, &options.exec_root] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(Self {
            program: programs::find("davit-containerd")?,
            root: options.data_root.join("containerd"),
            address: address(options),
            log: options.data_root.join("containerd.log"),
            log_level: options.log_level.clone(),
            state,
        })
    }

    async fn find_or_start(&self) -> anyhow::Result<i32> {
        if let Some(pid) = holder(&self.address).await {
            info!(pid, "found the manager");
            return Ok(pid);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let mut child = Command::new(&self.program)
            .arg("--root")
            .arg(&self.root)
            .arg("--state")
            .arg(&self.state)
            .arg("--address")
            .arg(&self.address)
            .args(["--log-level", &self.log_level])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Signals from a terminal are for the engine.
            .process_group(0)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let deadline = Instant::now() + START_TIME;
        loop {
            if let Some(pid) = holder(&self.address).await {
                info!(pid, "started the manager");
                // Reaped by the runtime when it ends.
                return Ok(pid);
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status}; its log is {}",
                    self.program.display(),
                    self.log.display()
                );
            }
            if Instant::now() > deadline {
                bail!("{} does not open {}", self.program.display(), self.address.display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn keep(plan: Plan, first: i32, current: watch::Sender<Option<i32>>) {
    let mut pid = first;
    loop {
        let begin = Instant::now();
        ended(pid).await;
        current.send_replace(None);
        warn!(pid, "the manager has died; it is started again");
        if begin.elapsed() < SHORT_LIFE {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        pid = loop {
            match plan.find_or_start().await {
                Ok(pid) => break pid,
                Err(error) => warn!("the manager cannot be started: {error:#}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        current.send_replace(Some(pid));
    }
}

/// The process behind a socket; `None` where nobody listens.
async fn holder(address: &Path) -> Option<i32> {
    let stream = UnixStream::connect(address).await.ok()?;
    stream.peer_cred().ok()?.pid()
}

/// Returns when a process has ended, be it a child or not.
async fn ended(pid: i32) {
    let waited = tokio::task::spawn_blocking(move || {
        let Some(pid) = rustix::process::Pid::from_raw(pid) else {
            return;
        };
        // A pid that is gone is a process that has ended.
        let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
            return;
        };
        let mut watched = [rustix::event::PollFd::from_borrowed_fd(
            pidfd.as_fd(),
            rustix::event::PollFlags::IN,
        )];
        while matches!(rustix::event::poll(&mut watched, None), Err(rustix::io::Errno::INTR)) {}
    });
    let _ = waited.await;
}
