//! A process's standard streams: from the URIs of a request to the bytes that flow.
//!
//! [`Prepared`] holds everything that must exist before the runtime is called: pipes or a console socket, the FIFOs, the log and
//! the attach socket. [`Prepared::run`] turns it into [`Streams`] once the process exists.

mod attach;
mod console;
pub(crate) mod fd;
mod logger;
mod output;
mod record;
mod relay;
mod request;

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::{fs::Gid, fs::Uid, pipe::PipeFlags, termios::Winsize};
use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
    task::JoinHandle,
    time,
};

pub use self::{attach::Attach, request::StdioRequest};
use self::{console::ConsoleSocket, fd::nonblocking, logger::Logger, output::Output, request::Input};
use crate::oci::CallStdio;

/// How long the end of a process waits at most for readers of its output.
const LAST_READERS: Duration = Duration::from_secs(10);

/// Streams that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// A URI that means nothing here.
    #[error(transparent)]
    Uri(#[from] davit_stdio::InvalidUri),
    /// A URI in the wrong place.
    #[error("unsupported {stream} {uri:?}: {reason}")]
    Unsupported {
        /// Which stream.
        stream: &'static str,
        /// As it was given.
        uri: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// Options of a log driver.
    #[error(transparent)]
    LogOption(#[from] davit_logs::InvalidOption),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What came of it.
        source: io::Error,
    },
    /// The runtime did not hand over the terminal.
    #[error("the runtime handed over no terminal on its console socket")]
    NoConsole,
    /// A logging program that failed.
    #[error("logging program {0} ended before it was ready")]
    Logger(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> StdioError {
    let what = what.into();
    move |source| StdioError::Io { what, source }
}

/// Where the streams of a process belong.
pub struct Place<'a> {
    /// The container, for a logging program.
    pub container: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// A folder for the console socket, short enough for `sun_path`.
    pub sockets: &'a Path,
    /// Owner of the pipes.
    pub owner: (u32, u32),
    /// Starts logging programs.
    pub reaper: &'a crate::reaper::Reaper,
}

/// The shim's ends and, until the runtime is called, the process's.
#[derive(Debug)]
pub struct Prepared {
    console: Option<ConsoleSocket>,
    process_ends: Option<[Stdio; 3]>,
    input: Option<(Input, OwnedFd)>,
    input_without_pipe: Option<Input>,
    outputs: Vec<(OwnedFd, Output)>,
    terminal_output: Option<Output>,
    attach: Option<Arc<Attach>>,
    loggers: Vec<Logger>,
}

impl Prepared {
    /// Opens everything that the request names.
    pub async fn open(request: &StdioRequest, place: &Place<'_>) -> Result<Self, StdioError> {
        let attach = match &request.log {
            Some(target) => Some(Attach::open(target, request.stdin_attached())?),
            None => None,
        };
        let mut prepared = Self {
            console: None,
            process_ends: None,
            input: None,
            input_without_pipe: None,
            outputs: Vec::new(),
            terminal_output: None,
            attach,
            loggers: Vec::new(),
        };
        let opened = if request.terminal {
            prepared.open_terminal(request, place).await
        } else {
            prepared.open_pipes(request, place).await
        };
        match opened {
            Ok(()) => Ok(prepared),
            Err(error) => {
                prepared.discard();
                Err(error)
            }
        }
    }

    /// Undoes what was opened for a process that never came to be.
    pub fn discard(self) {
        if let Some(attach) = self.attach {
            attach.close();
        }
    }

    /// Streams for the runtime's call.
    pub fn call_stdio(&mut self) -> CallStdio {
        match self.process_ends.take() {
            Some(ends) => CallStdio::Inherited(ends),
            None => CallStdio::Captured,
        }
    }

    /// The console socket's path, with a terminal.
    pub fn console_path(&self) -> Option<&Path> {
        self.console.as_ref().map(ConsoleSocket::path)
    }

    async fn open_terminal(&mut self, request: &StdioRequest, place: &Place<'_>) -> Result<(), StdioError> {
        self.console = Some(ConsoleSocket::open(place.sockets).map_err(failed("cannot make the console socket"))?);
        self.input_without_pipe = Input::open(&request.stdin)?;
        let mut output = Output::open(&request.stdout, self.attach.as_ref(), davit_logs::Source::Stdout)?;
        if let Output::Program = output {
            let mut logger = Logger::start(&request.stdout, place)?;
            output = logger.stdout_relay()?;
            logger.ready().await?;
            self.loggers.push(logger);
        }
        self.terminal_output = Some(output);
        Ok(())
    }

    async fn open_pipes(&mut self, request: &StdioRequest, place: &Place<'_>) -> Result<(), StdioError> {
        let stdin = match Input::open(&request.stdin)? {
            None => null()?.into(),
            Some(input) => {
                let (read, write) = pipe(place.owner)?;
                self.input = Some((input, write));
                Stdio::from(read)
            }
        };
        let (stdout, stderr) = if let davit_stdio::Stdio::Binary { .. } = request.stdout {
            let mut logger = Logger::start(&request.stdout, place)?;
            let ends = logger.process_ends()?;
            logger.ready().await?;
            self.loggers.push(logger);
            ends
        } else {
            let stdout = self.open_output(&request.stdout, davit_logs::Source::Stdout, place.owner)?;
            (
                stdout,
                self.open_output(&request.stderr, davit_logs::Source::Stderr, place.owner)?,
            )
        };
        self.process_ends = Some([stdin, stdout, stderr]);
        Ok(())
    }

    fn open_output(
        &mut self,
        uri: &davit_stdio::Stdio,
        source: davit_logs::Source,
        owner: (u32, u32),
    ) -> Result<Stdio, StdioError> {
        match Output::open(uri, self.attach.as_ref(), source)? {
            Output::Null => Ok(null()?.into()),
            output => {
                let (read, write) = pipe(owner)?;
                self.outputs.push((read, output));
                Ok(write.into())
            }
        }
    }

    /// Lets the bytes flow. The process exists, or did.
    pub async fn run(self) -> Result<Streams, StdioError> {
        let (exited, exits) = watch::channel(false);
        let mut flows = Flows {
            exits,
            tasks: Vec::new(),
            drained: Vec::new(),
        };
        let mut streams = Streams {
            exited,
            readers: Mutex::default(),
            drained: Mutex::default(),
            input: Mutex::default(),
            console: None,
            attach: self.attach,
            loggers: self.loggers,
        };
        if let Some(socket) = self.console {
            let master = Arc::new(socket.receive().await?);
            let output = self.terminal_output.unwrap_or(Output::Null);
            flows.output(master.clone(), output);
            if let Some(attach) = &streams.attach {
                attach.set_console(master.clone());
            }
            if let Some(input) = self.input_without_pipe {
                streams.input = Mutex::new(Some(input.run(master.clone(), streams.attach.as_ref())));
            }
            streams.console = Some(master);
        }
        if let Some((input, pipe)) = self.input {
            let pipe = Arc::new(nonblocking(pipe).map_err(failed("cannot watch the stdin pipe"))?);
            streams.input = Mutex::new(Some(input.run(pipe, streams.attach.as_ref())));
        }
        for (source, output) in self.outputs {
            let source = nonblocking(source).map_err(failed("cannot watch an output pipe"))?;
            flows.output(Arc::new(source), output);
        }
        streams.readers = Mutex::new(flows.tasks);
        streams.drained = Mutex::new(flows.drained);
        Ok(streams)
    }
}

/// Tasks that move output.
struct Flows {
    exits: watch::Receiver<bool>,
    tasks: Vec<JoinHandle<()>>,
    drained: Vec<oneshot::Receiver<()>>,
}

impl Flows {
    fn output(&mut self, source: Arc<AsyncFd<OwnedFd>>, output: Output) {
        match output {
            Output::Recorder(recorder) => {
                let (done, drained) = oneshot::channel();
                self.drained.push(drained);
                self.tasks
                    .push(tokio::spawn(record::record(source, recorder, self.exits.clone(), done)));
            }
            Output::Relay(sink) => self.tasks.push(tokio::spawn(relay::relay_all(source, sink))),
            // A terminal must be read even if nobody wants to see it.
            Output::Null | Output::Program => self.tasks.push(tokio::spawn(relay::discard_all(source))),
        }
    }
}

/// The streams of a process that exists.
#[derive(Debug)]
pub struct Streams {
    exited: watch::Sender<bool>,
    readers: Mutex<Vec<JoinHandle<()>>>,
    drained: Mutex<Vec<oneshot::Receiver<()>>>,
    input: Mutex<Option<request::InputFlow>>,
    console: Option<Arc<AsyncFd<OwnedFd>>>,
    attach: Option<Arc<Attach>>,
    loggers: Vec<Logger>,
}

impl Streams {
    /// Tells the streams that the process has ended, and returns when what it had written is in the log.
    pub async fn process_ended(&self) {
        self.exited.send_replace(true);
        let drained = std::mem::take(&mut *self.drained.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in drained {
            // A stream that has already ended is drained.
            let _ = stream.await;
        }
        if let Some(attach) = &self.attach {
            attach.process_ended();
        }
    }

    /// Ends the input: the process reads its end once it has read what was sent.
    pub fn close_stdin(&self) {
        if let Some(input) = self.input.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            input.close();
        }
    }

    /// Sets the terminal's size; `false` where there is none.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<bool> {
        let Some(console) = &self.console else { return Ok(false) };
        set_size(console.get_ref(), rows, columns)?;
        Ok(true)
    }

    /// Ends all flows; waits some seconds for those who read the last output.
    pub async fn close(&self) {
        let readers = std::mem::take(&mut *self.readers.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = time::Instant::now() + LAST_READERS;
        for mut reader in readers {
            if time::timeout_at(deadline, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        if let Some(attach) = &self.attach {
            // Who is slow has had its time.
            let _ = time::timeout_at(deadline, attach.clients_gone()).await;
            attach.close();
        }
        drop(self.input.lock().unwrap_or_else(PoisonError::into_inner).take());
        for logger in &self.loggers {
            logger.stop();
        }
    }
}

fn set_size(console: impl AsFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(console, size)?)
}

fn null() -> Result<File, StdioError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(failed("cannot open /dev/null"))
}

/// Read end and write end, both owned by the container's root where that is another user.
fn pipe(owner: (u32, u32)) -> Result<(OwnedFd, OwnedFd), StdioError> {
    let make = || {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        if owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
            rustix::fs::fchown(&read, Some(uid), Some(gid))?;
        }
        Ok::<_, io::Error>((read, write))
    };
    make().map_err(failed("cannot make a pipe"))
}
