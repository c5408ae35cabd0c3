//! One stream of output on its way.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Weak},
};

use davit_luggage::{Fd, Packing, Unpacking};
use serde::{Deserialize, Serialize};
use tokio::{
    io::unix::AsyncFd,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::{
    attach::Attach,
    fd,
    output::{Output, OutputState},
    record::{self, RecordPlace},
    relay::{self, Relay},
};

/// A stream of output. What the task alone holds is closed when it ends: that is how readers learn of the end.
#[derive(Debug)]
pub struct Flow {
    way: Way,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Way {
    Discard(Weak<AsyncFd<OwnedFd>>),
    Relay(Weak<Relay>),
    Record(Weak<AsyncFd<OwnedFd>>, RecordPlace),
}

/// A stream of output on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlowState {
    source: Fd,
    output: OutputState,
}

impl Flow {
    /// Moves output. What is recorded tells when it has all been taken that the process had written when it ended.
    pub fn begin(
        source: Arc<AsyncFd<OwnedFd>>,
        output: Output,
        exited: watch::Receiver<bool>,
    ) -> (Self, Option<oneshot::Receiver<()>>) {
        match output {
            Output::Recorder(recorder) => {
                let (done, drained) = oneshot::channel();
                let flow = Self {
                    way: Way::Record(Arc::downgrade(&source), recorder.place().clone()),
                    task: tokio::spawn(record::record(source, recorder, exited, done)),
                };
                (flow, Some(drained))
            }
            Output::Relay(sink, left) => {
                let relay = Arc::new(Relay::new(source, sink, left));
                let flow = Self {
                    way: Way::Relay(Arc::downgrade(&relay)),
                    task: tokio::spawn(relay.run_output()),
                };
                (flow, None)
            }
            Output::Null => {
                let flow = Self {
                    way: Way::Discard(Arc::downgrade(&source)),
                    // A terminal must be read even if nobody wants to see it.
                    task: tokio::spawn(relay::discard_all(source)),
                };
                (flow, None)
            }
        }
    }

    /// What moves it.
    pub fn into_task(self) -> JoinHandle<()> {
        self.task
    }

    /// The stream, for another program of ours; `None` once it has ended.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<Option<FlowState>> {
        if self.task.is_finished() {
            return Ok(None);
        }
        let state = |source: &AsyncFd<OwnedFd>, output, packing: &mut Packing| {
            let source = packing.fd(source)?;
            Ok(Some(FlowState { source, output }))
        };
        match &self.way {
            Way::Discard(source) => match source.upgrade() {
                Some(source) => state(&source, OutputState::Null, packing),
                None => Ok(None),
            },
            Way::Record(source, place) => match source.upgrade() {
                Some(source) => state(&source, place.pack(packing)?, packing),
                None => Ok(None),
            },
            Way::Relay(relay) => match relay.upgrade() {
                Some(relay) => state(relay.source(), relay.pack(packing)?, packing),
                None => Ok(None),
            },
        }
    }
}

impl FlowState {
    /// Source and destination of a stream that another program of ours has moved.
    pub fn unpack(
        self,
        unpacking: &mut Unpacking,
        attach: Option<&Arc<Attach>>,
    ) -> io::Result<(Arc<AsyncFd<OwnedFd>>, Output)> {
        let source = Arc::new(fd::watch(unpacking.fd(self.source)?)?);
        Ok((source, Output::unpack(self.output, unpacking, attach)?))
    }
}
