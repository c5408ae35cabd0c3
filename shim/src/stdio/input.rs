//! Input on its way to a process.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
    sync::{Arc, Weak},
};

use davit_luggage::{Bytes, Fd, Packing, Unpacking};
use davit_stdio::Stdio;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tokio::{io::unix::AsyncFd, task::JoinHandle};

use super::{
    StdioError,
    attach::Attach,
    failed,
    fd::{nonblocking, watch},
    relay::Relay,
};

/// Where input comes from, opened.
#[derive(Debug)]
pub enum Input {
    /// A FIFO, and a write end that keeps it open until the input is closed.
    Fifo {
        /// The FIFO.
        source: Arc<AsyncFd<OwnedFd>>,
        /// The write end.
        keeper: Option<File>,
        /// Bytes that were read and come first.
        left: Vec<u8>,
    },
    /// The attach socket.
    Attached,
}

/// An opened input on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub enum InputState {
    /// A FIFO.
    Fifo {
        /// The FIFO.
        source: Fd,
        /// The write end.
        keeper: Option<Fd>,
        /// Bytes that were read and come first.
        left: Bytes,
    },
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

    /// The source, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<InputState> {
        match self {
            Self::Fifo { source, keeper, left } => pack_fifo(source, keeper.as_ref(), Bytes(left.clone()), packing),
            Self::Attached => Ok(InputState::Attached),
        }
    }

    /// A source that another program of ours has opened.
    pub fn unpack(state: InputState, unpacking: &mut Unpacking) -> io::Result<Self> {
        match state {
            InputState::Attached => Ok(Self::Attached),
            InputState::Fifo { source, keeper, left } => Ok(Self::Fifo {
                source: Arc::new(watch(unpacking.fd(source)?)?),
                keeper: keeper.map(|keeper| unpacking.fd(keeper)).transpose()?.map(File::from),
                left: left.0,
            }),
        }
    }

    /// Moves input to the process.
    pub fn run(self, sink: Arc<AsyncFd<OwnedFd>>, attach: Option<&Arc<Attach>>) -> InputFlow {
        match self {
            Self::Fifo { source, keeper, left } => {
                let relay = Arc::new(Relay::new(source, Some(sink.clone()), left));
                InputFlow {
                    way: Way::Fifo(Arc::downgrade(&relay), keeper),
                    sink: Arc::downgrade(&sink),
                    task: tokio::spawn(async move {
                        // The process may close its input at any time.
                        let _ = relay.run().await;
                    }),
                }
            }
            Self::Attached => {
                let attach = attach.expect("attached input comes with an attach socket").clone();
                InputFlow {
                    way: Way::Attached(attach.clone()),
                    sink: Arc::downgrade(&sink),
                    task: tokio::spawn(attach.feed_stdin(sink)),
                }
            }
        }
    }
}

fn pack_fifo(
    source: &AsyncFd<OwnedFd>,
    keeper: Option<&File>,
    left: Bytes,
    packing: &mut Packing,
) -> io::Result<InputState> {
    Ok(InputState::Fifo {
        source: packing.fd(source)?,
        keeper: keeper.map(|keeper| packing.fd(keeper)).transpose()?,
        left,
    })
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
    Ok(Input::Fifo {
        source: Arc::new(reader),
        keeper: Some(keeper),
        left: Vec::new(),
    })
}

/// Input on its way to the process. What the task alone holds is closed when it ends: that is how the process learns of the end.
#[derive(Debug)]
pub struct InputFlow {
    way: Way,
    /// The process's end.
    sink: Weak<AsyncFd<OwnedFd>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Way {
    Fifo(Weak<Relay>, Option<File>),
    Attached(Arc<Attach>),
}

/// A flow of input on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct InputFlowState {
    input: InputState,
    sink: Fd,
}

impl InputFlow {
    /// No more input will come.
    pub fn close(&mut self) {
        match &mut self.way {
            Way::Fifo(_, keeper) => *keeper = None,
            Way::Attached(attach) => attach.close_stdin(),
        }
    }

    /// The flow, for another program of ours; `None` once it has ended.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<Option<InputFlowState>> {
        let Some(sink) = self.sink.upgrade().filter(|_| !self.task.is_finished()) else {
            return Ok(None);
        };
        let input = match &self.way {
            Way::Attached(_) => InputState::Attached,
            Way::Fifo(relay, keeper) => match relay.upgrade() {
                Some(relay) => pack_fifo(relay.source(), keeper.as_ref(), relay.rest(), packing)?,
                None => return Ok(None),
            },
        };
        Ok(Some(InputFlowState {
            input,
            sink: packing.fd(&*sink)?,
        }))
    }

    /// A flow that another program of ours has begun.
    pub fn unpack(
        state: InputFlowState,
        unpacking: &mut Unpacking,
        attach: Option<&Arc<Attach>>,
    ) -> io::Result<Option<Self>> {
        let sink = Arc::new(watch(unpacking.fd(state.sink)?)?);
        let input = Input::unpack(state.input, unpacking)?;
        if matches!(input, Input::Attached) && attach.is_none() {
            return Ok(None);
        }
        Ok(Some(input.run(sink, attach)))
    }
}

impl Drop for InputFlow {
    fn drop(&mut self) {
        self.task.abort();
    }
}
