//! Everything that must exist before the runtime is called.

mod handover;

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    sync::Arc,
};

use davit_logs::Source;
use davit_stdio::Stdio as Uri;
use rustix::{
    fs::{Gid, Uid},
    pipe::PipeFlags,
};

pub use self::handover::PreparedState;
use super::{
    Attach, Place, StdioError, StdioRequest, Streams, console::ConsoleSocket, failed, fd::nonblocking, input::Input,
    logger::Logger, output::Output, streams::Flows,
};
use crate::oci::CallStdio;

/// The shim's ends and, until the runtime is called, the process's.
#[derive(Debug)]
pub struct Prepared {
    wiring: Wiring,
    input: Option<Input>,
    attach: Option<Arc<Attach>>,
    logger: Option<Logger>,
}

/// How the process is connected.
#[derive(Debug)]
enum Wiring {
    Pipes {
        process_ends: Option<[OwnedFd; 3]>,
        /// The write end, if there is input.
        stdin: Option<OwnedFd>,
        /// Read ends, and where their bytes go.
        outputs: Vec<(OwnedFd, Output)>,
    },
    Terminal {
        socket: ConsoleSocket,
        output: Output,
    },
}

impl Prepared {
    /// Opens everything that the request names.
    pub async fn open(request: &StdioRequest, place: &Place<'_>) -> Result<Self, StdioError> {
        let attach = match &request.log {
            Some(target) => Some(Attach::open(target, place.container, request.stdin_attached()).await?),
            None => None,
        };
        let opened = wire(request, place, attach.as_ref()).await;
        match opened {
            Ok((wiring, input, logger)) => Ok(Self {
                wiring,
                input,
                attach,
                logger,
            }),
            Err(error) => {
                attach.inspect(|attach| attach.close());
                Err(error)
            }
        }
    }

    /// Undoes what was opened for a process that never came to be.
    pub fn discard(self) {
        if let Some(attach) = self.attach {
            attach.close();
        }
        if let Some(logger) = self.logger {
            logger.stop();
        }
    }

    /// Streams for the runtime's call. The process's ends are closed here once the call's are made of them.
    pub fn call_stdio(&mut self) -> CallStdio {
        match &mut self.wiring {
            Wiring::Pipes { process_ends, .. } => process_ends
                .take()
                .map_or(CallStdio::Captured, |ends| CallStdio::Inherited(ends.map(Stdio::from))),
            Wiring::Terminal { .. } => CallStdio::Captured,
        }
    }

    /// The console socket's path, with a terminal.
    pub fn console_path(&self) -> Option<&Path> {
        match &self.wiring {
            Wiring::Pipes { .. } => None,
            Wiring::Terminal { socket, .. } => Some(socket.path()),
        }
    }

    /// Lets the bytes flow. The process exists, or did.
    pub async fn run(self) -> Result<Streams, StdioError> {
        let (attach, logger) = (self.attach, self.logger);
        let connected = connect(self.wiring, self.input, attach.as_ref()).await;
        match connected {
            Ok(flows) => Ok(Streams::new(flows, attach, logger)),
            Err(error) => {
                attach.inspect(|attach| attach.close());
                logger.inspect(Logger::stop);
                Err(error)
            }
        }
    }
}

async fn wire(
    request: &StdioRequest,
    place: &Place<'_>,
    attach: Option<&Arc<Attach>>,
) -> Result<(Wiring, Option<Input>, Option<Logger>), StdioError> {
    let input = Input::open(&request.stdin)?;
    let mut logger = match request.stdout {
        Uri::Binary { .. } => Some(Logger::start(&request.stdout, place).await?),
        _ => None,
    };
    let wiring = if request.terminal {
        let what = "cannot make the console socket";
        let socket = ConsoleSocket::open(place.sockets).map_err(failed(what))?;
        let output = match &mut logger {
            Some(logger) => logger.stdout_relay()?,
            None => Output::open(&request.stdout, attach, Source::Stdout)?,
        };
        Wiring::Terminal { socket, output }
    } else {
        pipes(request, place, attach, input.is_some(), logger.as_mut())?
    };
    Ok((wiring, input, logger))
}

fn pipes(
    request: &StdioRequest,
    place: &Place<'_>,
    attach: Option<&Arc<Attach>>,
    has_input: bool,
    logger: Option<&mut Logger>,
) -> Result<Wiring, StdioError> {
    let (stdin_end, stdin) = if has_input {
        let (read, write) = pipe(place.owner)?;
        (read, Some(write))
    } else {
        (null()?.into(), None)
    };
    let mut outputs = Vec::new();
    let mut open = |uri: &Uri, source| match Output::open(uri, attach, source)? {
        Output::Null => Ok::<OwnedFd, StdioError>(null()?.into()),
        output => {
            let (read, write) = pipe(place.owner)?;
            outputs.push((read, output));
            Ok(write)
        }
    };
    let (stdout_end, stderr_end) = match logger {
        Some(logger) => logger.process_ends()?,
        None => (
            open(&request.stdout, Source::Stdout)?,
            open(&request.stderr, Source::Stderr)?,
        ),
    };
    let process_ends = Some([stdin_end, stdout_end, stderr_end]);
    Ok(Wiring::Pipes {
        process_ends,
        stdin,
        outputs,
    })
}

async fn connect(wiring: Wiring, input: Option<Input>, attach: Option<&Arc<Attach>>) -> Result<Flows, StdioError> {
    let mut flows = Flows::default();
    let sink = match wiring {
        Wiring::Pipes { stdin, outputs, .. } => {
            for (source, output) in outputs {
                let source = nonblocking(source).map_err(failed("cannot watch an output pipe"))?;
                flows.output(Arc::new(source), output);
            }
            let stdin = stdin.map(nonblocking).transpose();
            stdin.map_err(failed("cannot watch the stdin pipe"))?.map(Arc::new)
        }
        Wiring::Terminal { socket, output } => {
            let master = Arc::new(socket.receive().await?);
            flows.terminal(master.clone(), output);
            if let Some(attach) = attach {
                attach.set_console(master.clone());
            }
            Some(master)
        }
    };
    if let (Some(input), Some(sink)) = (input, sink) {
        flows.input(input.run(sink, attach));
    }
    Ok(flows)
}

fn null() -> Result<File, StdioError> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/null");
    opened.map_err(failed("cannot open /dev/null"))
}

/// Read end and write end, both owned by the container's root where that is another user.
pub fn pipe(owner: (u32, u32)) -> Result<(OwnedFd, OwnedFd), StdioError> {
    let make = || {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        if owner != (0, 0) {
            // Both ends are one inode.
            rustix::fs::fchown(&read, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)))?;
        }
        Ok::<_, io::Error>((read, write))
    };
    make().map_err(failed("cannot make a pipe"))
}
