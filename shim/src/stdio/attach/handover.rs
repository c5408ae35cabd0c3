//! Log and attach socket on their way to another program of ours.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::unix::net::UnixListener as StdListener,
    sync::Arc,
};

use davit_logs::{Delivery, Log, LogState};
use davit_luggage::{Fd, Packing, Unpacking};
use davit_stdio::LogTarget;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use super::{
    Attach, State,
    client::{Client, ClientState},
    input::{PendingInput, PendingInputState},
    ring::{Ring, RingState},
};
use crate::stdio::{Place, StdioRequest};

/// What another program needs to go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct AttachState {
    listener: Fd,
    log: Option<LogState>,
    ring: RingState,
    clients: Vec<ClientState>,
    open_outputs: u32,
    process_ended: Option<u64>,
    input: PendingInputState,
}

/// Opened log and socket that may be there, for another program of ours; `None` once they are closed.
pub fn pack(attach: Option<&Arc<Attach>>, packing: &mut Packing) -> io::Result<Option<AttachState>> {
    attach.map_or(Ok(None), |attach| attach.pack(packing))
}

/// Log and socket of another program of ours.
pub async fn unpack(
    state: Option<AttachState>,
    unpacking: &mut Unpacking,
    request: &StdioRequest,
    place: &Place<'_>,
) -> io::Result<Option<Arc<Attach>>> {
    match (state, &request.log) {
        (Some(state), Some(target)) => Attach::unpack(state, unpacking, target, place.container)
            .await
            .map(Some),
        _ => Ok(None),
    }
}

impl Attach {
    /// Log and socket, for another program of ours; `None` once they are closed.
    fn pack(&self, packing: &mut Packing) -> io::Result<Option<AttachState>> {
        let Some(listener) = self.listener.upgrade() else {
            return Ok(None);
        };
        let state = self.state();
        let clients = state.connections.values().map(|client| {
            let acknowledged = state.clients.get(&client.number).copied();
            client.pack(acknowledged, packing)
        });
        Ok(Some(AttachState {
            clients: clients.collect::<io::Result<_>>()?,
            listener: packing.fd(&*listener)?,
            log: state.log.as_ref().map(|log| log.pack(packing)).transpose()?,
            ring: state.ring.pack(),
            open_outputs: state.open_outputs,
            process_ended: state.process_ended,
            input: state.input.pack(),
        }))
    }

    async fn unpack(
        packed: AttachState,
        unpacking: &mut Unpacking,
        target: &LogTarget,
        container: &str,
    ) -> io::Result<Arc<Self>> {
        let listener = StdListener::from(unpacking.fd(packed.listener)?);
        let mut state = State {
            log: None,
            log_failed: false,
            ring: Ring::unpack(packed.ring),
            connections: BTreeMap::new(),
            clients: HashMap::new(),
            open_outputs: packed.open_outputs,
            process_ended: packed.process_ended,
            input: PendingInput::unpack(packed.input),
        };
        for (number, client) in (0..).zip(packed.clients) {
            let (client, acknowledged) = Client::unpack(number, client, unpacking)?;
            state.connections.insert(number, Arc::new(client));
            state
                .clients
                .extend(acknowledged.map(|acknowledged| (number, acknowledged)));
        }
        let mut delivery = None;
        if let Some(log) = packed.log {
            let opened = Log::unpack(target, container, log, unpacking).await;
            // The container must not end for want of its log.
            let opened = opened.inspect_err(|error| tracing::error!(%error, "the log is written no further"));
            (state.log, delivery) = opened.ok().flatten().unzip();
        }
        let listener = UnixListener::from_std(listener)?;
        Ok(Self::begin(target.attach.clone(), listener, delivery.flatten(), state))
    }

    /// Whether records are on their way that cannot be broken off; who is `patient` waits for those, too, that would be sent again.
    pub fn is_busy(&self, patient: bool) -> bool {
        let quiet = self.delivery.as_ref().map_or(Some(true), Delivery::is_quiet);
        quiet.is_none_or(|for_good| patient && !for_good)
    }
}
