//! The streams of a process that exists.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use davit_luggage::{Fd, Packing, Unpacking};
use serde::{Deserialize, Serialize};
use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
    time,
};

use super::{
    Attach, Place, StdioRequest,
    attach::{AttachState, pack as pack_attach, unpack as unpack_attach},
    fd,
    flow::{Flow, FlowState},
    input::{InputFlow, InputFlowState},
    logger::{Logger, LoggerState, pack as pack_logger},
    output::Output,
    set_size,
};

/// How long the end of a process waits at most for readers of its output, the log driver's peer among them.
const LAST_READERS: Duration = Duration::from_secs(10);

/// Bytes on their way.
#[derive(Debug)]
pub struct Flows {
    exited: watch::Sender<bool>,
    outputs: Vec<Flow>,
    drained: Vec<oneshot::Receiver<()>>,
    input: Option<InputFlow>,
    console: Option<Arc<AsyncFd<OwnedFd>>>,
}

impl Default for Flows {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Flows {
    /// No flows yet, of a process that has ended or has not.
    fn new(exited: bool) -> Self {
        Self {
            exited: watch::Sender::new(exited),
            outputs: Vec::new(),
            drained: Vec::new(),
            input: None,
            console: None,
        }
    }

    /// Moves output to its destination.
    pub fn output(&mut self, source: Arc<AsyncFd<OwnedFd>>, output: Output) {
        let exited = self.exited.subscribe();
        let (flow, drained) = Flow::begin(source, output, exited);
        self.outputs.push(flow);
        self.drained.extend(drained);
    }

    /// Moves a terminal's output, and keeps the terminal for its size.
    pub fn terminal(&mut self, master: Arc<AsyncFd<OwnedFd>>, output: Output) {
        self.console = Some(master.clone());
        self.output(master, output);
    }

    /// Keeps the flow of input.
    pub fn input(&mut self, input: InputFlow) {
        self.input = Some(input);
    }
}

/// The streams of a process that exists.
#[derive(Debug)]
pub struct Streams {
    flows: Mutex<Flows>,
    attach: Option<Arc<Attach>>,
    logger: Option<Logger>,
}

/// Streams on their way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct StreamsState {
    exited: bool,
    outputs: Vec<FlowState>,
    input: Option<InputFlowState>,
    console: Option<Fd>,
    attach: Option<AttachState>,
    logger: Option<LoggerState>,
}

impl Streams {
    /// Takes over flows.
    pub fn new(flows: Flows, attach: Option<Arc<Attach>>, logger: Option<Logger>) -> Self {
        Self {
            flows: Mutex::new(flows),
            attach,
            logger,
        }
    }

    /// The streams, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<StreamsState> {
        let flows = self.flows();
        let outputs = flows.outputs.iter().filter_map(|flow| flow.pack(packing).transpose());
        let outputs = outputs.collect::<io::Result<_>>()?;
        let input = flows.input.as_ref().map(|input| input.pack(packing)).transpose()?;
        Ok(StreamsState {
            exited: *flows.exited.borrow(),
            outputs,
            input: input.flatten(),
            console: flows
                .console
                .as_ref()
                .map(|console| packing.fd(&**console))
                .transpose()?,
            attach: pack_attach(self.attach.as_ref(), packing)?,
            logger: pack_logger(self.logger.as_ref(), packing)?,
        })
    }

    /// Lets the bytes flow that another program of ours has let flow.
    pub async fn unpack(
        state: StreamsState,
        unpacking: &mut Unpacking,
        request: &StdioRequest,
        place: &Place<'_>,
    ) -> io::Result<Self> {
        let attach = unpack_attach(state.attach, unpacking, request, place).await?;
        let mut flows = Flows::new(state.exited);
        for flow in state.outputs {
            let (source, output) = flow.unpack(unpacking, attach.as_ref())?;
            flows.output(source, output);
        }
        let console = state
            .console
            .map(|console| fd::watch(unpacking.fd(console)?).map(Arc::new));
        flows.console = console.transpose()?;
        if let (Some(attach), Some(console)) = (&attach, &flows.console) {
            attach.set_console(console.clone());
        }
        let input = state
            .input
            .map(|input| InputFlow::unpack(input, unpacking, attach.as_ref()));
        flows.input = input.transpose()?.flatten();
        let logger = state
            .logger
            .map(|logger| Logger::unpack(logger, unpacking, place.reaper));
        Ok(Self::new(flows, attach, logger.transpose()?))
    }

    /// Why the streams cannot be packed now, if so.
    pub fn is_busy(&self, patient: bool) -> bool {
        self.attach.as_ref().is_some_and(|attach| attach.is_busy(patient))
    }

    /// Tells the streams that the process has ended, and returns when what it had written is in the log.
    pub async fn process_ended(&self) {
        if let Some(attach) = &self.attach {
            attach.process_ended();
        }
        let drained = {
            let mut flows = self.flows();
            flows.exited.send_replace(true);
            std::mem::take(&mut flows.drained)
        };
        for stream in drained {
            // A stream that has already ended is drained.
            let _ = stream.await;
        }
    }

    /// Ends the input: the process reads its end once it has read what was sent.
    pub fn close_stdin(&self) {
        if let Some(input) = &mut self.flows().input {
            input.close();
        }
    }

    /// Sets the terminal's size, if there is one.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        match &self.flows().console {
            Some(console) => set_size(console.get_ref(), rows, columns),
            None => Ok(()),
        }
    }

    /// Ends all flows; waits some seconds for those who read the last output.
    pub async fn close(&self) {
        let outputs = std::mem::take(&mut self.flows().outputs);
        let deadline = time::Instant::now() + LAST_READERS;
        for mut reader in outputs.into_iter().map(Flow::into_task) {
            if time::timeout_at(deadline, &mut reader).await.is_err() {
                reader.abort();
                // It ends the log of its stream on its way.
                let _ = reader.await;
            }
        }
        if let Some(attach) = &self.attach {
            // Who is slow has had its time.
            let _ = time::timeout_at(deadline, attach.all_taken()).await;
            attach.close();
        }
        self.flows().input = None;
        if let Some(logger) = &self.logger {
            logger.stop();
        }
    }

    fn flows(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
