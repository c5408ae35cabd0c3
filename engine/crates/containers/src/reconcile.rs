//! After a start of the engine: the records brought in line with the manager's truth.
//!
//! | record | task | then |
//! |---|---|---|
//! | running | running, or stopped | taken over; the watcher reports an end with the code and time that the manager kept |
//! | running | made, not started | the engine died in between and told nobody: taken down, a failed start |
//! | running | none | lost, as after a reboot: ended with 255 |
//! | not running | any | left over from a start or an end that was cut short: taken down |
//! | not running, `--rm` | - | removed |
//! | none | any | nobody was told of it: taken down, with its layer |

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use davit_containerd_api::{any, events::TaskOom};
use davit_engine_spec::RestartPolicy;
use tracing::{debug, info, warn};

use crate::{
    actor::{self, Found},
    container::{Command, Container, WaitCondition},
    containerd::{Containerd, Phase, Task},
    context::Context,
    error::ContainerError,
    record::{Change, Record, Status},
};

type Result<T> = std::result::Result<T, ContainerError>;

const SIGKILL: u32 = 9;

/// How long clients wait for what has ended while the engine was away.
const PATIENCE: Duration = Duration::from_secs(3);

/// Brings all records in line.
pub(crate) async fn all(context: &Arc<Context>, records: Vec<Record>) -> Result<()> {
    let tasks = context.containerd.list_tasks().await?;
    let mut tasks: HashMap<String, Task> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
    // Before any actor lives and any client is served: none may be making or starting what this takes for a left-over.
    let running: HashSet<_> = records
        .iter()
        .filter(|record| record.state.is_running())
        .map(|record| record.id.clone())
        .collect();
    if let Err(error) = context.network.sweep(|id| running.contains(id)).await {
        warn!(%error, "network namespaces that were left behind cannot be removed");
    }
    delete_leftover_records(&context.containerd, |id| tasks.contains_key(id) || running.contains(id)).await;
    let known: HashSet<_> = records.iter().map(|record| record.id.clone()).collect();
    let layers = stray_layers(&context.containerd, |id| known.contains(id)).await;
    let (mut later, mut ended) = (Vec::new(), Vec::new());
    for record in records {
        let task = tasks.remove(record.id.as_str());
        let has_ended = task.as_ref().is_none_or(|task| task.phase == Phase::Stopped);
        let container = one(context, record, task).await;
        if has_ended {
            ended.push(container.clone());
        }
        later.push(container);
    }
    // What has ended meanwhile is shown so to the first client. The actors work side by side.
    let seen = async {
        for container in ended {
            container.wait(WaitCondition::NotRunning).await;
        }
    };
    if tokio::time::timeout(PATIENCE, seen).await.is_err() {
        warn!("some containers that have ended are not yet known to have");
    }
    // What needs more than a look goes on while clients are served.
    let context = context.clone();
    tokio::spawn(async move {
        clear_strangers(&context.containerd, tasks.into_keys().collect(), layers).await;
        for container in later {
            settle(&container).await;
        }
    });
    Ok(())
}

async fn one(context: &Arc<Context>, mut record: Record, task: Option<Task>) -> Arc<Container> {
    let phase = task.as_ref().map(|task| task.phase);
    let running = record.state.is_running();
    let found = match (running, phase) {
        (true, Some(Phase::Running | Phase::Stopped | Phase::Unknown)) => Found::Task,
        // The watcher finds nothing and reports the loss.
        (true, None) => Found::Task,
        (true, Some(Phase::Created)) => {
            take_down(&context.containerd, &record.id).await;
            record.state.transition(Change::StartFailed {
                error: "the engine ended while the container was being started".into(),
                code: 128,
            });
            store(context, &record).await;
            Found::AtRest
        }
        (false, Some(_)) => {
            take_down(&context.containerd, &record.id).await;
            Found::AtRest
        }
        (false, None) => Found::AtRest,
    };
    if let (Found::Task, Some(endpoint)) = (&found, &record.state.endpoint)
        && let Err(error) = context.network.adopt(&record.id, endpoint.address)
    {
        warn!(container = %record.id, %error, "a running container's address cannot be taken over");
    }
    let mut index = context.index.write().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = index.reserve(&record.name, &record.id) {
        warn!(container = %record.id, %error, "two containers have one name; found by id only");
    }
    let container = actor::spawn(context, record, None, found);
    index.insert(container.clone());
    container
}

/// What `--rm` and restart policies ask for after a start of the engine.
async fn settle(container: &Container) {
    let record = container.record();
    let state = &record.state;
    let result = match state.status {
        Status::Running => return,
        Status::Removing => container.remove().await,
        Status::Created | Status::Exited | Status::Restarting if record.host.auto_remove => container.remove().await,
        Status::Restarting => container.start().await,
        Status::Exited if starts_with_engine(&record) => container.start().await,
        Status::Created | Status::Exited => return,
    };
    // One that removes itself may be faster.
    let gone = matches!(result, Err(ContainerError::NoSuchContainer(_)));
    if let (Err(error), false) = (result, gone) {
        warn!(container = %record.id, %error, "a container could not be settled after the start of the engine");
    }
}

fn starts_with_engine(record: &Record) -> bool {
    match record.host.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !record.state.stopped_by_hand,
        RestartPolicy::OnFailure { .. } | RestartPolicy::No => false,
    }
}

async fn store(context: &Context, record: &Record) {
    if let Err(error) = context.store.put(record).await {
        warn!(container = %record.id, %error, "a change of a container is not stored");
    }
}

/// The manager's records of runs that are over: a start would find them in its way.
async fn delete_leftover_records(containerd: &Containerd, runs: impl Fn(&str) -> bool) {
    for id in containerd.list_containers().await.unwrap_or_default() {
        if !runs(&id) {
            debug!(container = id, "a left over record of the manager is deleted");
            let _ = containerd.delete_container(&id).await;
        }
    }
}

/// Layers that were made for containers nobody was told of.
async fn stray_layers(containerd: &Containerd, known: impl Fn(&str) -> bool) -> Vec<String> {
    // Ours alone have a container's id for a key; layers have digests.
    let ours = |key: &str| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut layers = containerd.list_snapshots().await.unwrap_or_default();
    layers.retain(|key| ours(key) && !known(key));
    layers
}

/// Takes down tasks and layers in our namespace that no record knows.
async fn clear_strangers(containerd: &Containerd, tasks: Vec<String>, layers: Vec<String>) {
    for id in tasks {
        info!(container = id, "a task that no record knows is taken down");
        take_down(containerd, &id).await;
    }
    for key in layers {
        info!(snapshot = key, "a layer that no record knows is removed");
        let _ = containerd.remove_snapshot(&key).await;
    }
}

async fn take_down(containerd: &Containerd, id: &str) {
    let _ = containerd.kill(id, "", SIGKILL, true).await;
    let _ = tokio::time::timeout(Duration::from_secs(5), containerd.wait(id, "")).await;
    if let Err(error) = containerd.delete_task(id).await {
        warn!(container = id, %error, "a left over task cannot be deleted");
    }
    let _ = containerd.delete_container(id).await;
}

/// Tells containers when the kernel killed for want of memory. Subscribes again when the manager comes back.
pub(crate) async fn watch_memory(context: Arc<Context>) {
    loop {
        if let Ok(mut events) = context
            .containerd
            .subscribe(vec![r#"topic=="/tasks/oom""#.into()])
            .await
        {
            while let Ok(Some(envelope)) = events.message().await {
                let Some(Ok(event)) = envelope.event.as_ref().and_then(any::unpack::<TaskOom>) else {
                    continue;
                };
                if let Some(container) = context.by_id(&event.container_id) {
                    let _ = container.commands.send(Command::OutOfMemory).await;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
