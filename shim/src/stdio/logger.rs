//! `binary://`: a logging program that gets the output on descriptors 3 and 4 and says on 5 that it is ready, by closing it; as
//! `binary-v2://` by a byte before that.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Command, Stdio as ProcessStdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};
use davit_luggage::{Fd, Packing, Unpacking};
use davit_stdio::Stdio;
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot::error::TryRecvError, time};

use super::{
    Place, StdioError, failed,
    fd::{nonblocking, read},
    output::Output,
    prepared::pipe,
};
use crate::reaper::{ExitReceiver, Reaper};

/// How long the program may take to be ready; containerd's figure.
const READY: Duration = Duration::from_secs(10);

/// How long it may take to end after SIGTERM; containerd's figure.
const LAST_WORDS: Duration = Duration::from_secs(12);

/// A logging program on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct LoggerState {
    name: String,
    pid: u32,
    stdout: Option<Fd>,
    stderr: Option<Fd>,
}

/// A program that may be there, for another program of ours.
pub fn pack(logger: Option<&Logger>, packing: &mut Packing) -> io::Result<Option<LoggerState>> {
    logger.map_or(Ok(None), |logger| logger.pack(packing))
}

/// A running logging program.
#[derive(Debug)]
pub struct Logger {
    name: String,
    pid: u32,
    reaper: Arc<Reaper>,
    exit: Mutex<Option<ExitReceiver>>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Logger {
    /// Starts the program of a `binary://` URI and waits until it is ready.
    pub async fn start(uri: &Stdio, place: &Place<'_>) -> Result<Self, StdioError> {
        let Stdio::Binary {
            path,
            arguments,
            says_ready,
        } = uri
        else {
            return Err(StdioError::Logger("that was never named".into()));
        };
        let name = path.display().to_string();
        let what = || format!("cannot start the logging program {name}");
        let (out_read, stdout) = pipe(place.owner)?;
        let (err_read, stderr) = pipe(place.owner)?;
        let (ready, ready_write) = pipe((0, 0))?;
        let mut command = Command::new(path);
        command
            .args(
                arguments
                    .iter()
                    .flat_map(|(key, value)| [key, value])
                    .filter(|text| !text.is_empty()),
            )
            .env("CONTAINER_ID", place.container)
            .env("CONTAINER_NAMESPACE", place.namespace)
            .stdin(ProcessStdio::null())
            .stdout(ProcessStdio::null())
            .stderr(ProcessStdio::null());
        let mapping = |parent_fd, child_fd| FdMapping { parent_fd, child_fd };
        let mapped = command.fd_mappings(vec![
            mapping(out_read, 3),
            mapping(err_read, 4),
            mapping(ready_write, 5),
        ]);
        mapped.map_err(|_| failed(what())(io::ErrorKind::InvalidInput.into()))?;
        let (child, exit) = place.reaper.spawn(&mut command).map_err(failed(what()))?;
        // It holds the program's ends.
        drop(command);
        let logger = Self {
            name,
            pid: child.id(),
            reaper: place.reaper.clone(),
            exit: Mutex::new(Some(exit)),
            stdout: Some(stdout),
            stderr: Some(stderr),
        };
        logger.ready(ready, *says_ready).await?;
        Ok(logger)
    }

    /// The write ends, for a process that writes to the program itself.
    pub fn process_ends(&mut self) -> Result<(OwnedFd, OwnedFd), StdioError> {
        match (self.stdout.take(), self.stderr.take()) {
            (Some(stdout), Some(stderr)) => Ok((stdout, stderr)),
            _ => Err(StdioError::Logger(self.name.clone())),
        }
    }

    /// The write end of stdout, for the output of a terminal.
    pub fn stdout_relay(&mut self) -> Result<Output, StdioError> {
        self.stderr = None;
        let stdout = self
            .stdout
            .take()
            .ok_or_else(|| StdioError::Logger(self.name.clone()))?;
        nonblocking(stdout)
            .map(Output::relay)
            .map_err(failed("cannot watch the logging program's input"))
    }

    /// Returns when the program has written to its ready pipe, or closed it where that is enough.
    async fn ready(&self, ready: OwnedFd, must_say_so: bool) -> Result<(), StdioError> {
        let ready = nonblocking(ready).map_err(failed("cannot watch the ready pipe"))?;
        let said = time::timeout(READY, read(&ready, |bytes| !bytes.is_empty())).await;
        if matches!(said, Ok(Ok(said)) if said || !must_say_so) && !self.is_dead() {
            return Ok(());
        }
        self.stop();
        Err(StdioError::Logger(self.name.clone()))
    }

    fn is_dead(&self) -> bool {
        self.exit()
            .as_mut()
            .is_none_or(|exit| exit.try_recv() != Err(TryRecvError::Empty))
    }

    /// Ends the program, by force after a while.
    pub fn stop(&self) {
        if let Some(exit) = self.exit().take_if(|exit| exit.try_recv() == Err(TryRecvError::Empty)) {
            self.reaper.end(self.pid, exit, LAST_WORDS);
        }
    }

    /// The running program, for another program of ours; `None` if it has ended, or is made to.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<Option<LoggerState>> {
        if self.exit().is_none() || !self.reaper.is_watched(self.pid) {
            return Ok(None);
        }
        let mut end = |end: &Option<OwnedFd>| end.as_ref().map(|end| packing.fd(end)).transpose();
        Ok(Some(LoggerState {
            name: self.name.clone(),
            pid: self.pid,
            stdout: end(&self.stdout)?,
            stderr: end(&self.stderr)?,
        }))
    }

    /// A program that another program of ours has started.
    pub fn unpack(state: LoggerState, unpacking: &mut Unpacking, reaper: &Arc<Reaper>) -> io::Result<Self> {
        let mut end = |end: Option<Fd>| end.map(|end| unpacking.fd(end)).transpose();
        Ok(Self {
            name: state.name,
            pid: state.pid,
            reaper: reaper.clone(),
            exit: Mutex::new(Some(reaper.watch(state.pid))),
            stdout: end(state.stdout)?,
            stderr: end(state.stderr)?,
        })
    }

    fn exit(&self) -> MutexGuard<'_, Option<ExitReceiver>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
