//! The streams that a request asks for.

use std::{
    fs::{File, OpenOptions},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    sync::Arc,
};

use davit_stdio::{LogTarget, Stdio};
use rustix::fs::OFlags;
use tokio::{io::unix::AsyncFd, task::JoinHandle};

use super::{StdioError, attach::Attach, failed, fd::nonblocking, relay::relay};

/// Checked streams of one process.
#[derive(Debug, Clone)]
pub struct StdioRequest {
    /// The process has a terminal; then stdout is all output.
    pub terminal: bool,
    /// Where input comes from.
    pub stdin: Stdio,
    /// Where output goes.
    pub stdout: Stdio,
    /// Where errors go; nowhere with a terminal.
    pub stderr: Stdio,
    /// The log driver of both, if they have one.
    pub log: Option<LogTarget>,
    /// stdin, stdout and stderr as they were given, for those who ask.
    pub texts: [String; 3],
}

impl StdioRequest {
    /// Checks URIs.
    pub fn new(terminal: bool, texts: [String; 3]) -> Result<Self, StdioError> {
        let [stdin, stdout, stderr] = [texts[0].parse()?, texts[1].parse()?, texts[2].parse()?];
        let request = Self {
            terminal,
            log: log_of(&stdout),
            stdin,
            stdout,
            stderr,
            texts,
        };
        request.check()?;
        Ok(request)
    }

    /// Whether input arrives on the attach socket.
    pub fn stdin_attached(&self) -> bool {
        self.stdin == Stdio::Attached
    }

    fn check(&self) -> Result<(), StdioError> {
        let [stdin, stdout, stderr] = &self.texts;
        let refuse = |stream, uri: &String, reason| {
            Err(StdioError::Unsupported {
                stream,
                uri: uri.clone(),
                reason,
            })
        };
        match &self.stdin {
            Stdio::Null | Stdio::Fifo(_) => {}
            Stdio::Attached if self.log.is_some() => {}
            Stdio::Attached => return refuse("stdin", stdin, "stdout names no attach socket"),
            _ => return refuse("stdin", stdin, "expected a FIFO, attach: or nothing"),
        }
        if self.stdout == Stdio::Attached {
            return refuse("stdout", stdout, "attach: is for stdin");
        }
        match &self.stderr {
            Stdio::Attached => refuse("stderr", stderr, "attach: is for stdin"),
            Stdio::Log(target) if Some(target) != self.log.as_ref() => {
                refuse("stderr", stderr, "a log driver must be the same for stdout and stderr")
            }
            Stdio::Binary { .. } if self.stderr != self.stdout => refuse(
                "stderr",
                stderr,
                "a logging program must be the same for stdout and stderr",
            ),
            _ => Ok(()),
        }
    }
}

fn log_of(stdout: &Stdio) -> Option<LogTarget> {
    match stdout {
        Stdio::Log(target) => Some(target.clone()),
        _ => None,
    }
}

/// Where input comes from, opened.
#[derive(Debug)]
pub enum Input {
    /// A FIFO, and a write end that keeps it open until the input is closed.
    Fifo(AsyncFd<OwnedFd>, File),
    /// The attach socket.
    Attached,
}

impl Input {
    /// Opens the source; `None` where there is no input.
    pub fn open(uri: &Stdio) -> Result<Option<Self>, StdioError> {
        match uri {
            Stdio::Fifo(path) => open_fifo(path).map(Some),
            Stdio::Attached => Ok(Some(Self::Attached)),
            _ => Ok(None),
        }
    }

    /// Moves input to the process.
    pub fn run(self, sink: Arc<AsyncFd<OwnedFd>>, attach: Option<&Arc<Attach>>) -> InputFlow {
        match self {
            Self::Fifo(source, keeper) => InputFlow {
                keeper: Some(keeper),
                attach: None,
                task: tokio::spawn(async move {
                    // The process may close its input at any time.
                    let _ = relay(&source, &sink).await;
                }),
            },
            Self::Attached => {
                let attach = attach.expect("attached input comes with an attach socket").clone();
                InputFlow {
                    keeper: None,
                    attach: Some(attach.clone()),
                    task: tokio::spawn(attach.feed_stdin(sink)),
                }
            }
        }
    }
}

fn open_fifo(path: &PathBuf) -> Result<Input, StdioError> {
    let what = || format!("cannot open the FIFO {}", path.display());
    let nonblock = OFlags::NONBLOCK.bits() as i32;
    // The reader first: opening for writing fails while there is none.
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(failed(what()))?;
    let keeper = OpenOptions::new()
        .write(true)
        .custom_flags(nonblock)
        .open(path)
        .map_err(failed(what()))?;
    let reader = nonblocking(reader.into()).map_err(failed(what()))?;
    Ok(Input::Fifo(reader, keeper))
}

/// Input on its way to the process.
#[derive(Debug)]
pub struct InputFlow {
    keeper: Option<File>,
    attach: Option<Arc<Attach>>,
    task: JoinHandle<()>,
}

impl InputFlow {
    /// No more input will come.
    pub fn close(&mut self) {
        self.keeper = None;
        if let Some(attach) = &self.attach {
            attach.close_stdin();
        }
    }
}

impl Drop for InputFlow {
    fn drop(&mut self) {
        self.task.abort();
    }
}
