//! A dead shim cannot tell the end of its task, and one that is taken down may not have: it is told in its stead. The end of a
//! sandbox is not a shim's to tell.
//!
//! An end that the shim has told after all is known by what it says, and is not told again.

use std::time::Duration;

use davit_containerd_api::{
    any,
    events::{SandboxExit, TaskDelete, TaskExit},
    types::Envelope,
};
use davit_tasks::{Death, Role};
use prost_types::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{events::stamped, recorder::Recorder};

/// The pauses between attempts to tell a death: a full disk may be emptied.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Tells the deaths that come, until the daemon ends.
pub(crate) async fn tell(mut died: UnboundedReceiver<Death>, recorder: Recorder) {
    while let Some(death) = died.recv().await {
        tokio::spawn(tell_one(death, recorder.clone()));
    }
}

async fn tell_one(death: Death, recorder: Recorder) {
    for envelope in events_of(&death) {
        record(&recorder, envelope).await;
        davit_fail_point::reach("manager.death.event-told");
    }
    // Whoever waits for it may have gone.
    let _ = death.told.send(());
}

/// Tries until it succeeds, or the daemon ends.
async fn record(recorder: &Recorder, envelope: Envelope) {
    let mut pause = FIRST_PAUSE;
    while let Err(error) = recorder.forward(envelope.clone()).await {
        tracing::warn!(topic = envelope.topic, %error, "tell the end of a task");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A sandbox whose shim has died and which had a process ends as a task does, too.
fn events_of(death: &Death) -> Vec<Envelope> {
    match death.role {
        Role::Task => task_ended(death).into(),
        Role::Sandbox if death.exit.pid == 0 => vec![sandbox_ended(death)],
        Role::Sandbox => task_ended(death).into_iter().chain([sandbox_ended(death)]).collect(),
    }
}

fn sandbox_ended(death: &Death) -> Envelope {
    let exited = SandboxExit {
        sandbox_id: death.id.to_string(),
        exit_status: death.exit.status,
        exited_at: time(death),
    };
    stamped(&death.namespace, "/sandboxes/exit", Some(any::pack(&exited)))
}

fn time(death: &Death) -> Option<Timestamp> {
    death.exit.at.as_ref().map(|at| Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    })
}

fn task_ended(death: &Death) -> [Envelope; 2] {
    let Death {
        namespace, id, exit, ..
    } = death;
    let at = time(death);
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

#[cfg(test)]
mod tests {
    use std::fs;

    use davit_tasks::Exit;
    use tokio::sync::{
        mpsc::unbounded_channel,
        oneshot::{self, error::TryRecvError},
    };

    use super::*;
    use crate::events::EventBus;

    fn death(told: oneshot::Sender<()>) -> Death {
        Death {
            namespace: "n".parse().unwrap(),
            id: "c".parse().unwrap(),
            role: Role::Task,
            exit: Exit {
                pid: 7,
                status: 137,
                at: None,
            },
            told,
        }
    }

    /// More than a segment of the journal holds, so that the next event needs another.
    fn large() -> Envelope {
        let large = prost_types::Any {
            type_url: "example.Large".into(),
            value: vec![7; 8 << 20],
        };
        stamped(&"n".parse().unwrap(), "/tasks/large", Some(large))
    }

    /// The time of this test goes by leaps: a pause is over as soon as there is nothing else to do.
    #[tokio::test(start_paused = true)]
    async fn a_death_that_cannot_be_journalled_is_told_when_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, away) = (folder.path().join("events"), folder.path().join("away"));
        let recorder = Recorder::open(&journal, EventBus::new()).unwrap();
        recorder.forward(large()).await.unwrap();
        fs::rename(&journal, &away).unwrap();
        let (deaths, died) = unbounded_channel();
        let (told, mut is_told) = oneshot::channel();
        tokio::spawn(tell(died, recorder.clone()));
        deaths.send(death(told)).unwrap();
        for _ in 0..10 {
            tokio::time::sleep(LONGEST_PAUSE).await;
            recorder.forward(large()).await.unwrap_err();
        }
        assert_eq!(is_told.try_recv(), Err(TryRecvError::Empty));
        fs::rename(&away, &journal).unwrap();
        is_told.await.unwrap();
        assert_eq!(recorder.journal.span(), (1, 3));
    }
}
