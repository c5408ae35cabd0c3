//! The streams of a process that exists.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
    task::JoinHandle,
    time,
};

use super::{Attach, logger::Logger, output::Output, record, relay, request::InputFlow, set_size};

/// How long the end of a process waits at most for readers of its output, the log driver's peer among them.
const LAST_READERS: Duration = Duration::from_secs(10);

/// Bytes on their way.
#[derive(Debug)]
pub struct Flows {
    exited: watch::Sender<bool>,
    readers: Vec<JoinHandle<()>>,
    drained: Vec<oneshot::Receiver<()>>,
    input: Option<InputFlow>,
    console: Option<Arc<AsyncFd<OwnedFd>>>,
}

impl Default for Flows {
    fn default() -> Self {
        let exited = watch::Sender::new(false);
        Self {
            exited,
            readers: Vec::new(),
            drained: Vec::new(),
            input: None,
            console: None,
        }
    }
}

impl Flows {
    /// Moves output to its destination.
    pub fn output(&mut self, source: Arc<AsyncFd<OwnedFd>>, output: Output) {
        let reader = match output {
            Output::Recorder(recorder) => {
                let (done, drained) = oneshot::channel();
                self.drained.push(drained);
                tokio::spawn(record::record(source, recorder, self.exited.subscribe(), done))
            }
            Output::Relay(sink) => tokio::spawn(relay::relay_all(source, sink)),
            // A terminal must be read even if nobody wants to see it.
            Output::Null => tokio::spawn(relay::discard_all(source)),
        };
        self.readers.push(reader);
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

impl Streams {
    /// Takes over flows.
    pub fn new(flows: Flows, attach: Option<Arc<Attach>>, logger: Option<Logger>) -> Self {
        Self {
            flows: Mutex::new(flows),
            attach,
            logger,
        }
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
        let readers = std::mem::take(&mut self.flows().readers);
        let deadline = time::Instant::now() + LAST_READERS;
        for mut reader in readers {
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
