//! A dead shim cannot tell the end of its task: it is told in its stead.

use std::time::Duration;

use davit_containerd_api::{
    any,
    events::{TaskDelete, TaskExit},
    types::Envelope,
};
use davit_tasks::Death;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{events::stamped, recorder::Recorder};

/// How often it is tried to tell a death, and the pause between: a full disk may be emptied.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the deaths that come, until the daemon ends.
pub(crate) async fn tell(mut died: UnboundedReceiver<Death>, recorder: Recorder) {
    while let Some(death) = died.recv().await {
        tokio::spawn(tell_one(death, recorder.clone()));
    }
}

async fn tell_one(death: Death, recorder: Recorder) {
    let [exited, deleted] = events_of(&death);
    for envelope in [exited, deleted] {
        if !is_recorded(&recorder, envelope).await {
            return;
        }
    }
    // Whoever waits for it may have gone.
    let _ = death.told.send(());
}

async fn is_recorded(recorder: &Recorder, envelope: Envelope) -> bool {
    for attempt in 1..=ATTEMPTS {
        match recorder.forward(envelope.clone()).await {
            Ok(()) => return true,
            Err(error) => tracing::warn!(topic = envelope.topic, attempt, %error, "tell the death of a shim"),
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    false
}

fn events_of(death: &Death) -> [Envelope; 2] {
    let Death {
        namespace, id, exit, ..
    } = death;
    let at = exit.at.as_ref().map(|at| prost_types::Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    });
    let exited = TaskExit {
        container_id: id.to_string(),
        id: id.to_string(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: at,
    };
    let deleted = TaskDelete {
        container_id: id.to_string(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: at,
        id: String::new(),
    };
    [
        stamped(namespace, "/tasks/exit", Some(any::pack(&exited))),
        stamped(namespace, "/tasks/delete", Some(any::pack(&deleted))),
    ]
}
