//! One process of a container: init or an exec.

use std::{
    io,
    path::Path,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use davit_luggage::{Packing, Unpacking};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    bundle::read_pid,
    error::TaskError,
    exit::Exit,
    reaper::{Births, ExitReceiver, Reaper},
    stdio::{Place, Prepared, PreparedState, StdioRequest, Streams, StreamsState},
};

/// Where a process is in its life; it only moves downward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Init waits for `start`, or an exec is only described.
    Created,
    /// It runs.
    Running,
    /// It has ended, and that has been recorded.
    Stopped(Exit),
}

/// One process.
#[derive(Debug)]
pub struct Process {
    /// The streams it was asked to have.
    pub stdio: StdioRequest,
    /// Streams that wait for the process to exist.
    prepared: Mutex<Option<Prepared>>,
    live: OnceLock<Live>,
    started: AtomicBool,
    exit: watch::Sender<Option<Exit>>,
}

/// What exists once the runtime has made the process.
#[derive(Debug)]
pub struct Live {
    /// In the shim's pid namespace.
    pub pid: u32,
    /// Its streams.
    pub streams: Streams,
}

impl Live {
    /// Takes over the process that a runtime was `called` to make, and lets its bytes flow. Without its streams it is of no
    /// use, and is killed.
    pub async fn take_over(
        called: Result<(), TaskError>,
        pid_file: &Path,
        births: &Births,
        prepared: Prepared,
    ) -> Result<(Self, ExitReceiver), TaskError> {
        let pid = called
            .and_then(|()| read_pid(pid_file).map_err(TaskError::io("cannot read the pid that the runtime wrote")));
        let pid = match pid {
            Ok(pid) => pid,
            Err(error) => {
                prepared.discard();
                return Err(error);
            }
        };
        let exit = births.adopt(pid);
        match prepared.run().await {
            Ok(streams) => Ok((Self { pid, streams }, exit)),
            Err(error) => {
                // It may have ended by itself.
                let _ = kill_pid(pid, Signal::KILL);
                Err(error.into())
            }
        }
    }
}

/// A process on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessState {
    terminal: bool,
    /// stdin, stdout and stderr as they were given.
    stdio: [String; 3],
    prepared: Option<PreparedState>,
    /// Its pid and its streams, once the runtime has made it.
    live: Option<(u32, StreamsState)>,
    started: bool,
    exit: Option<Exit>,
}

impl Process {
    /// The process, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<ProcessState> {
        let live = self
            .live()
            .map(|live| Ok::<_, io::Error>((live.pid, live.streams.pack(packing)?)));
        Ok(ProcessState {
            terminal: self.stdio.terminal,
            stdio: self.stdio.texts.clone(),
            live: live.transpose()?,
            prepared: self
                .prepared()
                .as_ref()
                .map(|prepared| prepared.pack(packing))
                .transpose()?,
            started: self.started.load(Ordering::Relaxed),
            exit: *self.exit.borrow(),
        })
    }

    /// A process of another program of ours, and what becomes its exit where it runs.
    pub async fn unpack(
        state: ProcessState,
        unpacking: &mut Unpacking,
        place: &Place<'_>,
    ) -> io::Result<(Self, Option<ExitReceiver>)> {
        let stdio = StdioRequest::new(state.terminal, state.stdio).map_err(io::Error::other)?;
        let prepared = match state.prepared {
            Some(prepared) => Some(Prepared::unpack(prepared, unpacking, &stdio, place).await?),
            None => None,
        };
        let mut exit = None;
        let live = match state.live {
            Some((pid, streams)) => {
                exit = state.exit.is_none().then(|| place.reaper.watch(pid));
                let streams = Streams::unpack(streams, unpacking, &stdio, place).await?;
                Some(Live { pid, streams })
            }
            None => None,
        };
        let process = Self::new(stdio, prepared);
        if let Some(live) = live {
            process.made(live);
        }
        process.started.store(state.started, Ordering::Relaxed);
        process.exit.send_replace(state.exit);
        Ok((process, exit))
    }

    /// What of it cannot be packed now.
    pub fn is_busy(&self, reaper: &Reaper, patient: bool) -> Option<&'static str> {
        let is_ending = |live: &Live| self.exit.borrow().is_none() && !reaper.is_watched(live.pid);
        let prepared = self.prepared();
        if self.live().is_some_and(is_ending) {
            Some("an exit on its way to its record")
        } else if self.live().is_some_and(|live| live.streams.is_busy(patient))
            || prepared.as_ref().is_some_and(|prepared| prepared.is_busy(patient))
        {
            Some("log records on their way")
        } else {
            None
        }
    }

    /// A process that the runtime has not made yet.
    pub fn new(stdio: StdioRequest, prepared: Option<Prepared>) -> Self {
        Self {
            stdio,
            prepared: Mutex::new(prepared),
            live: OnceLock::new(),
            started: AtomicBool::new(false),
            exit: watch::Sender::new(None),
        }
    }

    /// A process that the runtime has just made.
    pub fn with_live(stdio: StdioRequest, live: Live) -> Self {
        let process = Self::new(stdio, None);
        process.made(live);
        process
    }

    /// Takes the prepared streams: whoever gets them makes the process.
    pub fn take_prepared(&self) -> Option<Prepared> {
        self.prepared().take()
    }

    /// Whether the runtime is about to make it, or to fail.
    pub fn is_being_made(&self) -> bool {
        self.live().is_none() && self.prepared().is_none() && self.exit.borrow().is_none()
    }

    /// The runtime has made the process.
    pub fn made(&self, live: Live) {
        // Only who has taken the prepared streams comes here.
        let _ = self.live.set(live);
    }

    /// The process runs.
    pub fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// The process has ended, and that is recorded.
    pub fn set_exit(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }

    /// Where it is in its life. An exec that could not be started ends for who waits for it, but never was: as with
    /// containerd's shim it is only described, still.
    pub fn status(&self) -> Status {
        match *self.exit.borrow() {
            Some(exit) if self.live().is_some() => Status::Stopped(exit),
            Some(_) => Status::Created,
            None if self.started.load(Ordering::Relaxed) => Status::Running,
            None => Status::Created,
        }
    }

    /// What exists of it.
    pub fn live(&self) -> Option<&Live> {
        self.live.get()
    }

    /// Its pid, or 0 before it exists.
    pub fn pid(&self) -> u32 {
        self.live().map_or(0, |live| live.pid)
    }

    /// Returns when the process has ended.
    pub async fn wait(&self) -> Exit {
        let mut exits = self.exit.subscribe();
        let exit = exits.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        // The sender lives as long as this process.
        exit.unwrap_or_else(|| Exit::now(255))
    }

    /// Sends a signal. The pid cannot be another process's: nobody has waited for this one yet.
    pub fn kill(&self, signal: u32) -> Result<(), TaskError> {
        let live = self
            .live()
            .ok_or_else(|| TaskError::State("process not created".into()))?;
        if let Status::Stopped(_) = self.status() {
            return Err(TaskError::Finished);
        }
        // Signal 0 asks whether it is there, which it is: nobody has waited for it yet.
        if signal == 0 {
            return Ok(());
        }
        let named = Signal::from_named_raw(signal as i32);
        let signal = named.ok_or_else(|| TaskError::Unsupported(format!("signal {signal} to an exec")))?;
        match kill_pid(live.pid, signal) {
            Err(rustix::io::Errno::SRCH) => Err(TaskError::Finished),
            outcome => outcome.map_err(|error| TaskError::io("cannot send the signal")(error.into())),
        }
    }

    /// Ends its streams and gives back what they hold.
    pub async fn close(&self) {
        if let Some(prepared) = self.take_prepared() {
            prepared.discard();
        }
        if let Some(live) = self.live() {
            live.streams.close().await;
        }
    }

    fn prepared(&self) -> MutexGuard<'_, Option<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a signal to a child that nobody has waited for.
fn kill_pid(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    let pid = Pid::from_raw(pid as i32).ok_or(rustix::io::Errno::SRCH)?;
    kill_process(pid, signal)
}
